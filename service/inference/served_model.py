"""One version of one model in service: validation, batcher and session under one `infer`."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
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

    def watch_pending(self, rows: Callable[[], int]) -> None:
        """Take a function that says how many rows wait, to be asked at any time."""

    def answered(self, *, outcome: str, seconds: float) -> None:
        """Report a finished request. `outcome` is one of ok, invalid, rejected, deadline, failed, cancelled."""

    def looked_up(self, *, found: bool, seconds: float) -> None:
        """Report a look into the response cache, and how long it took."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """All that is known of a version once its session has proved itself, before it serves.

    `rows_count` says that the first axis of every tensor is the same batch axis, `batched` that requests may share a run. There is
    a session for each instance, or one that takes the runs of all. `problems` says which providers it does without, and why.
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
    manifest: Manifest | None

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

    `grant` has its threads and instances, `nodes` how many nodes of the graph each execution provider runs, `problems` which
    providers it does without, and why.
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
            steady=not self._free_axes and loaded.session.providers == (CPU,),
        )
        observer.watch_pending(lambda: self._batcher.pending_rows)
        self.rows_count = loaded.rows_count
        self.batched = loaded.batched
        self.configuration = loaded.configuration
        self.providers = loaded.session.providers
        max_bytes = loaded.configuration.cache.max_bytes
        self._cache = ResponseCache(max_bytes=max_bytes) if max_bytes else None

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
        outcome = "failed"
        try:
            arrays = checked_inputs(self.name, self.signature, inputs, same_rows=self.rows_count, missing=missing)
            positions = checked_outputs(self.name, self.signature, requested_outputs)
            outputs, timing = await self._outputs(arrays, deadline, priority)
            outcome = "ok"
            return Answer([(self.signature.outputs[index], outputs[index]) for index in positions], timing)
        except AxonError as error:
            outcome = error.outcome
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._observer.answered(outcome=outcome, seconds=perf_counter() - started_at)

    def refuse_if_full(self) -> None:
        """Raise QueueFull if not even one more row could wait: known before a request is decoded."""
        try:
            self._batcher.refuse_if_full(rows=1)
        except AxonError as error:
            self._observer.answered(outcome=error.outcome, seconds=0.0)
            raise

    async def close(self) -> None:
        """Finish what was accepted and release the session."""
        await self._batcher.close()

    async def _outputs(self, arrays: Sequence[Array], deadline: float | None, priority: int) -> tuple[list[Array], Timing]:
        """Return the outputs from the cache, if there is one and they are in it, else from a run."""
        if self._cache is not None:
            looked_at = perf_counter()
            key = key_of(arrays)
            kept = self._cache.get(key)
            self._observer.looked_up(found=kept is not None, seconds=perf_counter() - looked_at)
            if kept is not None:
                return kept, Timing(0.0, 0.0)
        rows = len(arrays[0]) if self.rows_count else 1
        outputs, timing = await self._batcher.submit(arrays, rows=rows, key=self._key(arrays), deadline=deadline, priority=priority)
        if self._cache is not None:
            self._cache.put(key, outputs)
        return outputs, timing

    def _key(self, arrays: Sequence[Array]) -> Hashable:
        """Return what two requests must have in common to share a run: the sizes of all axes but the first."""
        return tuple(array.shape[1:] for array in arrays) if self._free_axes else None
