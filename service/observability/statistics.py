"""The statistics extension: counts and cumulative times of each model version since it was loaded.

Fields and their meaning: Triton's docs/protocol/extension_statistics.md. Times are whole nanoseconds; those of a request that
shared a run count the whole run for each request, those of `batch_stats` count it once.
"""

from collections.abc import Callable, Sequence
from time import time
from typing import Final

import msgspec

from service.inference.execution import RunReport
from service.inference.served_model import Load, ModelFacts
from service.registry import VersionStatus

_NANOSECONDS: Final = 1e9


class Duration(msgspec.Struct):
    """How often something happened, and how long it took in all, in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """Count something that took `seconds`."""
        self.count += 1
        self.ns += round(seconds * _NANOSECONDS)

    def add_all(self, seconds: Sequence[float]) -> None:
        """Count things that took different times."""
        self.count += len(seconds)
        self.ns += round(sum(seconds) * _NANOSECONDS)


class InferenceStatistics(msgspec.Struct):
    """Where the time of requests went."""

    success: Duration = msgspec.field(default_factory=Duration)
    fail: Duration = msgspec.field(default_factory=Duration)
    queue: Duration = msgspec.field(default_factory=Duration)
    compute_input: Duration = msgspec.field(default_factory=Duration)
    compute_infer: Duration = msgspec.field(default_factory=Duration)
    compute_output: Duration = msgspec.field(default_factory=Duration)
    cache_hit: Duration = msgspec.field(default_factory=Duration)
    cache_miss: Duration = msgspec.field(default_factory=Duration)


class BatchStatistics(msgspec.Struct):
    """The runs of one size."""

    batch_size: int
    compute_input: Duration = msgspec.field(default_factory=Duration)
    compute_infer: Duration = msgspec.field(default_factory=Duration)
    compute_output: Duration = msgspec.field(default_factory=Duration)


class ModelStatistics(msgspec.Struct):
    """What is told of one model version. `last_inference` is in milliseconds since 1970, `inference_count` counts rows."""

    name: str
    version: str
    last_inference: int = 0
    inference_count: int = 0
    execution_count: int = 0
    inference_stats: InferenceStatistics = msgspec.field(default_factory=InferenceStatistics)
    response_stats: dict[str, Duration] = {}
    batch_stats: list[BatchStatistics] = []
    memory_usage: list[dict[str, str | int]] = []


class Statistics:
    """The statistics of one server, an observer like the metrics."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, int], ModelStatistics] = {}

    def of(self, name: str, version: int) -> ModelStatistics:
        """Return the statistics of a version that serves."""
        return self._versions[name, version]

    def model(self, name: str, version: int) -> "VersionStatistics":
        """Return the observer of a version that starts to serve; it counts from 0."""
        counts = self._versions[name, version] = ModelStatistics(name, str(version))
        return VersionStatistics(counts)

    def unloaded(self, name: str, version: int) -> None:
        """Forget a version."""
        self._versions.pop((name, version), None)

    def forgotten(self, name: str, version: str) -> None:
        """Be told of what is forgotten already."""

    def state_changed(self, status: VersionStatus) -> None:
        """Be told of what is not counted here."""

    def load_ended(self, name: str, *, seconds: float, failed: bool) -> None:
        """Be told of what is not counted here."""


class VersionStatistics:
    """Counts for one model version. Belongs to the event loop."""

    def __init__(self, counts: ModelStatistics) -> None:
        self._counts = counts
        self._stats = counts.inference_stats
        self._sizes: dict[int, BatchStatistics] = {}

    def ran(self, run: RunReport, *, reason: str) -> None:  # noqa: ARG002 -- why it ran is not counted
        """Count one run and the waits before it; one that failed is counted with its requests."""
        self._stats.queue.add_all(run.waits)
        if run.failed:
            return
        self._counts.execution_count += 1
        self._counts.inference_count += run.rows
        input_ns, output_ns = round(run.input_seconds * _NANOSECONDS), round(run.output_seconds * _NANOSECONDS)
        infer_ns = round(run.seconds * _NANOSECONDS) - input_ns - output_ns
        _count(self._stats, run.requests, input_ns, infer_ns, output_ns)
        _count(self._of_size(run.rows + run.padding), 1, input_ns, infer_ns, output_ns)

    def looked_up(self, *, found: bool, seconds: float) -> None:
        """Count a look into the response cache."""
        (self._stats.cache_hit if found else self._stats.cache_miss).add(seconds)

    def serves(self, facts: ModelFacts, load: Callable[[], Load]) -> None:  # noqa: ARG002 -- changes all the time
        """Note the size of the files: onnxruntime does not say what a session takes beyond that."""
        self._counts.memory_usage = [{"type": "CPU", "id": 0, "byte_size": facts.nbytes}]

    def answered(self, *, outcome: str, reason: str, seconds: float) -> None:  # noqa: ARG002 -- the reason is not counted
        """Count a finished request."""
        (self._stats.success if outcome == "ok" else self._stats.fail).add(seconds)
        self._counts.last_inference = int(time() * 1e3)

    def _of_size(self, rows: int) -> BatchStatistics:
        stats = self._sizes.get(rows)
        if stats is None:
            stats = self._sizes[rows] = BatchStatistics(rows)
            self._counts.batch_stats.append(stats)
        return stats


def _count(stats: InferenceStatistics | BatchStatistics, times: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
    """Count the parts of a run so many times. Written out, as it is done for every run."""
    given, computed, taken = stats.compute_input, stats.compute_infer, stats.compute_output
    given.count += times
    given.ns += input_ns * times
    computed.count += times
    computed.ns += infer_ns * times
    taken.count += times
    taken.ns += output_ns * times
