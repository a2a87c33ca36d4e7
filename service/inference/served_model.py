"""One version of one model in service: validation, batcher and session under one `infer`."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any, Protocol

import msgspec
import numpy as np

from service.errors import AxonError
from service.inference.batcher import Batcher, RunObserver, Timing
from service.inference.cache import ResponseCache, key_of
from service.inference.execution import Run
from service.inference.provider_defaults import CPU
from service.inference.session import Session
from service.inference.thread_plan import Grant
from service.inference.validation import checked_inputs, checked_outputs
from service.repository.configuration import ModelConfiguration
from service.repository.manifest import Manifest
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]


class ModelObserver(RunObserver, Protocol):
    """Is told of what happens to a model version."""

    def serves(self, facts: "ModelFacts", load: Callable[[], "Load"]) -> None:
        """Take what is known of the version, and a function that says what it does now, to be asked at any time."""

    def answered(self, *, outcome: str, reason: str, seconds: float) -> None:
        """Report a finished request. `outcome` is ok, invalid, rejected, deadline, failed or cancelled, `reason` the error's code.

        It is empty for ok and cancelled. Called while the request is still the current one.
        """

    def looked_up(self, *, found: bool, seconds: float) -> None:
        """Report a look into the response cache, and how long it took."""


class Load(msgspec.Struct, frozen=True):
    """What a version does at a moment: rows that wait, and sessions that run."""

    pending_rows: int
    busy_sessions: int


class ModelFacts(msgspec.Struct, frozen=True):
    """What a person asks of a version that serves: where it runs and on what, and how large its files are.

    `nodes` is how many nodes of the graph each execution provider runs, `missing_providers` how many it does without.
    """

    nodes: Mapping[str, int]
    missing_providers: int
    instances: int
    threads: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """All that is known of a version once its session has proved itself, before it serves.

    `rows_count` says that the first axis of every tensor is the same batch axis, `batched` that requests may share a run, up to
    `merged_rows` rows. There is a session for each instance, or one that takes the runs of all. `problems` says which providers it
    does without, and why. `nbytes` is the size of the graph and its weights on disk.
    """

    name: str
    version: int
    signature: Signature
    configuration: ModelConfiguration
    sessions: tuple[Session, ...]
    grant: Grant
    problems: tuple[str, ...]
    rows_count: bool
    batched: bool
    merged_rows: int
    manifest: Manifest | None
    nbytes: int = 0

    @property
    def facts(self) -> ModelFacts:
        """What of it is shown to people."""
        return ModelFacts(
            nodes=self.session.nodes,
            missing_providers=len(self.problems),
            instances=self.grant.instances,
            threads=self.grant.threads,
            nbytes=self.nbytes,
        )

    @property
    def session(self) -> Session:
        """The first session, which is as all others."""
        return self.sessions[0]

    @property
    def runs(self) -> list[Run]:
        """What to call for a run, one for each run at a time."""
        sessions = self.sessions if len(self.sessions) > 1 else self.sessions * self.grant.instances
        return [session.run for session in sessions]


class Answer(msgspec.Struct, frozen=True):
    """The requested outputs with what they mean, and where the time went."""

    outputs: list[tuple[TensorSpec, Array]]
    timing: Timing

    @property
    def nbytes(self) -> int:
        """Size of the outputs in memory."""
        return sum(array.nbytes for _, array in self.outputs)


class ServedModel:
    """A version that answers requests. Must be made on the event loop; `infer` may run many times at once.

    A request is read within `reading`, so that it counts if it cannot be. `grant` has its threads and instances, `nodes` how many
    nodes of the graph each execution provider runs, `problems` which providers it does without, and why.
    """

    def __init__(self, loaded: LoadedModel, observer: ModelObserver) -> None:
        self.name = loaded.name
        self.version = loaded.version
        self.signature = loaded.signature
        self.takes_text = any(spec.datatype == "BYTES" for spec in loaded.signature.inputs)
        self._free_axes = any(-1 in spec.shape[1:] for spec in loaded.signature.inputs)
        self.grant = loaded.grant  # the threads count as taken as long as this version serves
        self.nodes = loaded.session.nodes
        self.problems = loaded.problems
        self._observer = observer
        self._batcher = Batcher(
            loaded.runs,
            name=loaded.name,
            version=loaded.version,
            batching=loaded.configuration.batching,
            observer=observer,
            merge_requests=loaded.batched,
            merged_rows=loaded.merged_rows,
            steady=not self._free_axes and loaded.session.providers == (CPU,),
        )
        self.reading = _Reading(observer)
        observer.serves(loaded.facts, lambda: Load(self._batcher.pending_rows, self._batcher.busy_sessions))
        self.rows_count = loaded.rows_count
        self.batched = loaded.batched
        self.merged_rows = loaded.merged_rows
        self.configuration = loaded.configuration
        self.providers = loaded.session.providers
        max_bytes = loaded.configuration.cache.max_bytes
        self._cache = ResponseCache(max_bytes=max_bytes) if max_bytes else None

    @property
    def max_queue_size(self) -> int:
        """How many rows may wait now."""
        return self._batcher.max_queue_size

    async def infer(
        self,
        inputs: Mapping[str, Array],
        requested_outputs: Sequence[str] = (),
        missing: Collection[str] = (),
        *,
        deadline: float | None = None,
        priority: int = 0,
    ) -> Answer:
        """Answer one request of any number of rows; `missing` names the inputs in which the client left values out.

        `deadline` is in seconds of `perf_counter`; `priority` is 1 for the most urgent, 0 for the model's default. Raises
        SignatureMismatch for input that does not fit, QueueFull, ShuttingDown, DeadlineExceeded, or ModelFailed.
        """
        started_at = perf_counter()
        outcome, reason = "failed", AxonError.code
        try:
            arrays = checked_inputs(self.name, self.signature, inputs, same_rows=self.rows_count, missing=missing)
            positions = checked_outputs(self.name, self.signature, requested_outputs)
            rows = len(arrays[0]) if self.rows_count else 1
            key = tuple([array.shape[1:] for array in arrays]) if self._free_axes else None
            if self._cache is None:
                outputs, timing = await self._batcher.submit(arrays, rows=rows, key=key, deadline=deadline, priority=priority)
            else:
                outputs, timing = await self._looked_up(self._cache, arrays, rows, key, deadline, priority)
            outcome, reason = "ok", ""
            return Answer([(self.signature.outputs[index], outputs[index]) for index in positions], timing)
        except AxonError as error:
            outcome, reason = error.outcome, error.code
            raise
        except asyncio.CancelledError:
            outcome, reason = "cancelled", ""
            raise
        finally:
            self._observer.answered(outcome=outcome, reason=reason, seconds=perf_counter() - started_at)

    def refuse_if_full(self) -> None:
        """Raise QueueFull if not even one more row could wait: known before a request is decoded."""
        with self.reading:
            self._batcher.refuse_if_full(rows=1)

    async def close(self) -> None:
        """Finish what was accepted and release the session."""
        await self._batcher.close()

    async def _looked_up(
        self, cache: ResponseCache, arrays: Sequence[Array], rows: int, key: Hashable, deadline: float | None, priority: int
    ) -> tuple[list[Array], Timing]:
        """Return the outputs from the cache if they are in it, else from a run."""
        looked_at = perf_counter()
        digest = key_of(arrays)
        kept = cache.get(digest)
        self._observer.looked_up(found=kept is not None, seconds=perf_counter() - looked_at)
        if kept is not None:
            return kept, Timing(0.0, 0.0)
        outputs, timing = await self._batcher.submit(arrays, rows=rows, key=key, deadline=deadline, priority=priority)
        cache.put(digest, outputs)
        return outputs, timing


class _Reading:
    """Counts a request that is refused before its tensors are there. Keeps nothing, so one of a model does for all requests."""

    __slots__ = ("_observer",)

    def __init__(self, observer: ModelObserver) -> None:
        self._observer = observer

    def __enter__(self) -> None:
        """Begin to read."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Count what is wrong with the request."""
        if isinstance(error, AxonError):
            reason = "" if error.outcome == "cancelled" else error.code
            self._observer.answered(outcome=error.outcome, reason=reason, seconds=0.0)
