"""Prometheus metrics. Only this package knows prometheus_client; the rest of the service reports events to observers.

Labels are `model` and `version` of models that are loaded, never text of a client. Durations are seconds.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic

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

from service.inference.served_model import Load, ModelFacts
from service.observability.cgroup import CgroupCollector
from service.observability.exposition import MergedCollector
from service.observability.families import ModelFamilies
from service.observability.model_metrics import ModelMetrics
from service.observability.processes import ProcessesCollector
from service.observability.retirement import KEPT_SECONDS, Retirement, Version
from service.observability.shared_values import Segment, keep_values_here, keep_values_in
from service.registry import State, VersionStatus

_OPENMETRICS = "application/openmetrics-text"
_REFUSALS = ("no_key", "unknown_key", "expired_key", "wrong_scope", "rate")
_TURNED_AWAY = ("connections", "malformed", "head", "slow")
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


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

    A worker gives the `segments` of all workers, that of their parent last, and its `own`. A scrape then shows them put together:
    counts are added, gauges by their `multiprocess_mode`, which says nothing where there is one process.

    The series of a version that no longer serves go when they could be read: see retirement.py. With `exemplars`, the durations of
    requests have ids of traces in OpenMetrics; of several workers, those of the one that answers.
    """

    def __init__(
        self,
        *,
        server_version: str,
        segments: Sequence[Segment] = (),
        own: Segment | None = None,
        exemplars: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if not segments:
            keep_values_here()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a gauge beside every counter and histogram, which nothing reads
        self.registry = CollectorRegistry()
        self._exposed = self.registry
        self._own = own
        self._exemplars = exemplars
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
        self._retired = Retirement(clock=clock)
        self._dropped = Retirement(seconds=2 * KEPT_SECONDS, most=None, clock=clock)
        for version in () if own is None else own.versions():  # of the worker whose place this one takes
            self._retired.retire(version)
        self._loads: dict[Version, Callable[[], Load]] = {}
        self._add_families(server_version)

    def _add_families(self, server_version: str) -> None:
        registry = self.registry
        Info("axon_server", "The running server.", registry=registry).info({"version": server_version})
        self.event_loop_lag = Histogram(
            "axon_event_loop_lag_seconds",
            "How late the event loop was, looked at several times a second.",
            buckets=_LAG_SECONDS,
            registry=registry,
        )
        self._cpus = Gauge("axon_planned_cpus", "CPUs that models share.", registry=registry, multiprocess_mode="livesum")
        self._families = ModelFamilies(registry)
        refused = Counter("axon_refused_requests", "Requests that the API keys refused, by why.", ("reason",), registry=registry)
        self._refused = {reason: refused.labels(reason) for reason in _REFUSALS}
        self._connections = Gauge("axon_http_connections", "Open HTTP connections.", registry=registry, multiprocess_mode="livesum")
        turned_away = Counter(
            "axon_http_refusals", "Connections and requests that reached no route, by why.", ("reason",), registry=registry
        )
        self._turned_away = {reason: turned_away.labels(reason) for reason in _TURNED_AWAY}
        self._repository_failures = Counter(
            "axon_repository_failures",
            "Looks at an object store that failed, and versions in it that were refused.",
            registry=registry,
        )
        self._load_failures = Counter("axon_model_load_failures", "Loads that failed.", ("model",), registry=registry)
        self._load_seconds = Gauge(
            "axon_model_load_duration_seconds",
            "Time that the last load took.",
            ("model",),
            registry=registry,
            multiprocess_mode="livemax",
        )

    def planned(self, cpus: int) -> None:
        """Note how many CPUs the models of this process share."""
        self._cpus.set(cpus)

    def model(self, name: str, version: int) -> ModelMetrics:
        """Return the observer of a model version that starts to serve."""
        self._return((name, str(version)))
        serves = partial(self._serves, (name, str(version)))
        return ModelMetrics(self._families, name, str(version), serves=serves, exemplars=self._exemplars)

    def state_changed(self, status: VersionStatus) -> None:
        """Set the state of a version."""
        if status.state is not State.UNAVAILABLE:
            self._return((status.name, status.version))
        self._families.set_state(status)

    def refused(self, reason: str) -> None:
        """Count a request that was refused before anybody looked at it."""
        self._refused[reason].inc()

    def connected(self, count: int) -> None:
        """Note how many HTTP connections there are."""
        self._connections.set(count)

    def turned_away(self, reason: str) -> None:
        """Count a connection or a request that reached no route."""
        self._turned_away[reason].inc()

    def repository_failed(self) -> None:
        """Count a look at the repository's store that failed, or a damaged version in it."""
        self._repository_failures.inc()

    def load_ended(self, name: str, *, seconds: float, failed: bool) -> None:
        """Count a failed load and note how long it took."""
        self._return((name, ""))
        self._load_failures.labels(name).inc(failed)
        self._load_seconds.labels(name).set(seconds)

    def unloaded(self, name: str, version: int) -> None:
        """Let go of a version that was taken down: of what it does at once, of its counts later."""
        retired = (name, str(version))
        self._loads.pop(retired, None)
        self._families.drop_live(*retired)
        if self._own is not None:
            self._own.release(retired, gauges_only=True)
        self._retire(retired)

    def forgotten(self, name: str, version: str) -> None:
        """Let go of a version that does not serve, or of a model, that is gone from the repository."""
        self._retire((name, version))

    def looked(self, lag: float) -> None:
        """Record how late the event loop was, and what is to be asked for."""
        self.event_loop_lag.observe(lag)
        self._ask()
        self._let_go()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return OpenMetrics if an Accept header names it, else the Prometheus text format; and the content type."""
        self._ask()
        if _OPENMETRICS in accept:
            content = openmetrics.generate_latest(self._exposed)  # type: ignore[no-untyped-call]  # has no annotations
            return content, openmetrics.CONTENT_TYPE_LATEST
        return text.generate_latest(self._exposed), text.CONTENT_TYPE_PLAIN_0_0_4

    def _serves(self, version: Version, facts: ModelFacts, load: Callable[[], Load]) -> None:
        self._families.set_facts(*version, facts)
        self._loads[version] = load

    def _ask(self) -> None:
        for version, load in self._loads.items():
            self._families.set_load(*version, load())

    def _retire(self, version: Version) -> None:
        self._retired.retire(version)
        self._let_go()

    def _return(self, version: Version) -> None:
        self._retired.returned(version)
        self._dropped.returned(version)
        if self._own is not None:
            self._own.unmark_gone(version)

    def _let_go(self) -> None:
        """Drop the series of versions whose time is over."""
        for version in self._retired.due():
            self._families.drop(*version)
            if not version[1]:
                for family in (self._load_failures, self._load_seconds):
                    with suppress(KeyError):
                        family.remove(version[0])
            if self._own is not None:
                self._own.release(version)
                self._own.mark_gone(version)
                self._dropped.retire(version)
        for version in self._dropped.due():
            if self._own is not None:
                self._own.unmark_gone(version)
