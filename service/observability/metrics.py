"""Prometheus metrics. Only this package knows prometheus_client; the rest of the service reports events to observers.

Labels are `model` and `version` of models that are loaded, never text of a client. Durations are seconds.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import nan

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client import exposition as text
from prometheus_client.openmetrics import exposition as openmetrics

from service.inference.execution import RunReport
from service.observability.cgroup import CgroupCollector
from service.observability.exposition import MergedCollector
from service.observability.processes import ProcessesCollector
from service.observability.shared_values import Segment, keep_values_in
from service.registry import State, VersionStatus

_OPENMETRICS = "application/openmetrics-text"
_MODEL = ("model", "version")
_OUTCOMES = ("ok", "invalid", "rejected", "deadline", "failed", "cancelled")
_REASONS = ("full", "idle", "delay", "shutdown", "retry")
_REFUSALS = ("no_key", "unknown_key", "expired_key", "wrong_scope", "rate")
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class WorkerMetrics:
    """How many worker processes there are. The parent of several keeps it in a segment of its own."""

    def __init__(self, segment: Segment | None = None, *, registry: CollectorRegistry | None = None) -> None:
        if segment is not None:
            keep_values_in(segment)
        self._workers = Gauge("axon_workers", "Processes that serve.", registry=registry, multiprocess_mode="livesum")
        self._restarts = Counter("axon_worker_restarts", "Workers that ended and were replaced.", registry=registry)

    def running(self, count: int) -> None:
        """Note how many run now."""
        self._workers.set(count)

    def restarted(self) -> None:
        """Count a worker that ended."""
        self._restarts.inc()


class Metrics:
    """All metrics of one server, on a registry of their own: two servers in one process do not meet.

    A worker gives the `segments` of all workers, that of their parent last. A scrape then shows them put together: counts are
    added, gauges by their `multiprocess_mode`, which says nothing where there is one process.
    """

    def __init__(self, *, server_version: str, segments: Sequence[Segment] = ()) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a gauge beside every counter and histogram, which nothing reads
        self.registry = CollectorRegistry()
        self._exposed = self.registry
        if segments:
            self._exposed = CollectorRegistry()
            self._exposed.register(MergedCollector(self.registry, segments))
            self.registry.register(ProcessesCollector(segments, parent=segments[-1].pid))
        else:
            ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(CgroupCollector())
        workers = WorkerMetrics(registry=self.registry)
        if not segments:
            workers.running(1)
        self._pending: dict[tuple[str, str], Callable[[], int]] = {}
        self.event_loop_lag = Histogram(
            "axon_event_loop_lag_seconds",
            "How late the event loop was, looked at several times a second.",
            buckets=_LAG_SECONDS,
            registry=self.registry,
        )
        Info("axon_server", "The running server.", registry=self.registry).info({"version": server_version})
        self.requests = Counter(
            "axon_inference_requests", "Finished requests by outcome.", (*_MODEL, "outcome"), registry=self.registry
        )
        self.rows = Counter("axon_inference_rows", "Rows that were run.", _MODEL, registry=self.registry)
        self.padded_rows = Counter(
            "axon_inference_padded_rows", "Rows that only filled a run up to an allowed size.", _MODEL, registry=self.registry
        )
        self.cache_lookups = Counter(
            "axon_inference_cache_lookups", "Looks into the response cache.", (*_MODEL, "found"), registry=self.registry
        )
        self.runs = Counter(
            "axon_inference_runs", "Runs of the model, by why they started.", (*_MODEL, "reason"), registry=self.registry
        )
        self.request_seconds = self._histogram("axon_inference_request_duration_seconds", "Whole time of a request.", _SECONDS)
        self.queue_seconds = self._histogram("axon_inference_queue_duration_seconds", "Time in the queue.", _SECONDS)
        self.compute_seconds = self._histogram("axon_inference_compute_duration_seconds", "Time of a run.", _SECONDS)
        self.batch_size = self._histogram("axon_inference_batch_size", "Rows of a run.", _ROWS)
        self.pending_rows = Gauge(
            "axon_inference_pending_rows", "Rows that wait.", _MODEL, registry=self.registry, multiprocess_mode="livesum"
        )
        self.state = Gauge(
            "axon_model_state",
            "1 for the state that a model version is in.",
            (*_MODEL, "state"),
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        refused = Counter(
            "axon_refused_requests", "Requests that the API keys refused, by why.", ("reason",), registry=self.registry
        )
        self._refused = {reason: refused.labels(reason) for reason in _REFUSALS}
        self._repository_failures = Counter(
            "axon_repository_failures",
            "Looks at an object store that failed, and versions in it that were refused.",
            registry=self.registry,
        )
        self.load_failures = Counter("axon_model_load_failures", "Loads that failed.", ("model",), registry=self.registry)
        self.load_seconds = Gauge(
            "axon_model_load_duration_seconds",
            "Time that the last load took.",
            ("model",),
            registry=self.registry,
            multiprocess_mode="livemax",
        )

    def model(self, name: str, version: int) -> "ModelMetrics":
        """Return the observer of a model version that starts to serve."""
        return ModelMetrics(self, name, str(version))

    def state_changed(self, status: VersionStatus) -> None:
        """Set the state of a version."""
        for state in State:
            self.state.labels(status.name, status.version, state.value).set(state is status.state)

    def refused(self, reason: str) -> None:
        """Count a request that was refused before anybody looked at it."""
        self._refused[reason].inc()

    def repository_failed(self) -> None:
        """Count a look at the repository's store that failed, or a damaged version in it."""
        self._repository_failures.inc()

    def load_ended(self, name: str, *, seconds: float, failed: bool) -> None:
        """Count a failed load and note how long it took."""
        self.load_failures.labels(name).inc(failed)
        self.load_seconds.labels(name).set(seconds)

    def unloaded(self, name: str, version: int) -> None:
        """Let go of a version that was taken down; its counters stay."""
        with suppress(KeyError):  # never loaded, or taken down twice
            del self._pending[name, str(version)]
            self.pending_rows.labels(name, version).set(nan)  # so a value that other processes see is taken back
            self.pending_rows.remove(name, str(version))

    def watch_pending(self, name: str, version: str, rows: Callable[[], int]) -> None:
        """Ask `rows` now and then."""
        self._pending[name, version] = rows

    def looked(self, lag: float) -> None:
        """Record how late the event loop was, and what is to be asked for."""
        self.event_loop_lag.observe(lag)
        self._ask()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return OpenMetrics if an Accept header names it, else the Prometheus text format; and the content type."""
        self._ask()
        if _OPENMETRICS in accept:
            content = openmetrics.generate_latest(self._exposed)  # type: ignore[no-untyped-call]  # has no annotations
            return content, openmetrics.CONTENT_TYPE_LATEST
        return text.generate_latest(self._exposed), text.CONTENT_TYPE_PLAIN_0_0_4

    def _ask(self) -> None:
        for labels, rows in self._pending.items():
            self.pending_rows.labels(*labels).set(rows())

    def _histogram(self, name: str, help_text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, help_text, _MODEL, buckets=buckets, registry=self.registry)


class ModelMetrics:
    """The metrics of one model version, their label values resolved once."""

    def __init__(self, metrics: Metrics, name: str, version: str) -> None:
        self._requests = {outcome: _increment(metrics.requests.labels(name, version, outcome)) for outcome in _OUTCOMES}
        self._runs = {reason: _increment(metrics.runs.labels(name, version, reason)) for reason in _REASONS}
        self._rows = _increment(metrics.rows.labels(name, version))
        self._padded_rows = _increment(metrics.padded_rows.labels(name, version))
        lookups = metrics.cache_lookups
        self._lookups = {found: _increment(lookups.labels(name, version, str(found).lower())) for found in (True, False)}
        self._request_seconds = _observe(metrics.request_seconds.labels(name, version))
        self._queue_seconds = _observe(metrics.queue_seconds.labels(name, version))
        self._compute_seconds = _observe(metrics.compute_seconds.labels(name, version))
        self._batch_size = _observe(metrics.batch_size.labels(name, version))
        self._watch_pending = partial(metrics.watch_pending, name, version)

    def ran(self, run: RunReport, *, reason: str) -> None:
        """Record one run."""
        self._runs[reason](1)
        self._rows(run.rows)
        self._batch_size(run.rows)
        self._compute_seconds(run.seconds)
        if run.padding:
            self._padded_rows(run.padding)

    def waited(self, seconds: float) -> None:
        """Record how long an entry waited."""
        self._queue_seconds(seconds)

    def looked_up(self, *, found: bool, seconds: float) -> None:  # noqa: ARG002 -- of use to other observers
        """Count a look into the response cache."""
        self._lookups[found](1)

    def watch_pending(self, rows: Callable[[], int]) -> None:
        """Ask `rows` several times a second and at a scrape."""
        self._watch_pending(rows)

    def answered(self, *, outcome: str, seconds: float) -> None:
        """Record a finished request."""
        self._requests[outcome](1)
        self._request_seconds(seconds)


# What happens for every request goes to the values directly. prometheus_client checks each amount and looks for an exemplar, and
# finds the bucket of a histogram by trying one after another: of a small model that took a twentieth of the throughput.


def _increment(counter: Counter) -> Callable[[float], None]:
    """Return what adds to a counter."""
    increment: Callable[[float], None] = counter._value.inc  # noqa: SLF001
    return increment


def _observe(histogram: Histogram) -> Callable[[float], None]:
    """Return what adds an amount to a histogram."""
    bounds = list(histogram._upper_bounds)  # noqa: SLF001
    increments = [bucket.inc for bucket in histogram._buckets]  # noqa: SLF001
    add = histogram._sum.inc  # noqa: SLF001

    def observe(amount: float) -> None:
        increments[bisect_left(bounds, amount)](1)
        add(amount)

    return observe
