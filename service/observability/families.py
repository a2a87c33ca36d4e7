"""The metrics that each model version has a series of, and how the series of one that is gone are taken back."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.inference.served_model import Load, ModelFacts
from service.registry import State, VersionStatus

_MODEL: Final = ("model", "version")
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ModelFamilies:
    """Counters, histograms and gauges by `model` and `version`, on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.requests = self._counter("axon_inference_requests", "Finished requests by outcome and error.", "outcome", "reason")
        self.rows = self._counter("axon_inference_rows", "Rows that were run.")
        self.padded_rows = self._counter("axon_inference_padded_rows", "Rows that only filled a run up to an allowed size.")
        self.cache_lookups = self._counter("axon_inference_cache_lookups", "Looks into the response cache.", "found")
        self.runs = self._counter("axon_inference_runs", "Runs of the model, by why they started.", "reason")
        self.request_seconds = self._histogram("axon_inference_request_duration_seconds", "Whole time of a request.", _SECONDS)
        self.queue_seconds = self._histogram("axon_inference_queue_duration_seconds", "Time in the queue.", _SECONDS)
        self.compute_seconds = self._histogram("axon_inference_compute_duration_seconds", "Time of a run.", _SECONDS)
        self.batch_size = self._histogram("axon_inference_batch_size", "Rows of a run.", _ROWS)
        self._state = self._gauge("axon_model_state", "1 for the state that a model version is in.", "livemax", "state")
        self._pending_rows = self._gauge("axon_inference_pending_rows", "Rows that wait.", "livesum")
        self._busy_sessions = self._gauge("axon_inference_busy_sessions", "Runs that go on, on threads of their own.", "livesum")
        self._sessions = self._gauge("axon_model_sessions", "Runs that can go on at once.", "livesum")
        self._threads = self._gauge("axon_model_threads", "Threads that its runs can keep busy.", "livesum")
        self._bytes = self._gauge("axon_model_file_bytes", "Size of the graph and its weights.", "livemax")
        self._nodes = self._gauge("axon_model_provider_nodes", "Nodes that an execution provider runs.", "livemax", "provider")
        self._missing = self._gauge("axon_model_missing_providers", "Execution providers it does without.", "livemax")
        self._counts = (
            *(self.requests, self.rows, self.padded_rows, self.cache_lookups, self.runs),
            *(self.request_seconds, self.queue_seconds, self.compute_seconds, self.batch_size, self._state),
        )
        self._live = (
            *(self._pending_rows, self._busy_sessions, self._sessions, self._threads, self._bytes),
            *(self._nodes, self._missing),
        )

    def set_state(self, status: VersionStatus) -> None:
        """Show the state of a version."""
        for state in State:
            self._state.labels(status.name, status.version, state.value).set(state is status.state)

    def set_facts(self, name: str, version: str, facts: ModelFacts) -> None:
        """Show what is known of a version that serves."""
        self._sessions.labels(name, version).set(facts.instances)
        self._threads.labels(name, version).set(facts.threads)
        self._bytes.labels(name, version).set(facts.nbytes)
        self._missing.labels(name, version).set(facts.missing_providers)
        for provider, nodes in facts.nodes.items():
            self._nodes.labels(name, version, provider).set(nodes)

    def set_load(self, name: str, version: str, load: Load) -> None:
        """Show what a version does now."""
        self._pending_rows.labels(name, version).set(load.pending_rows)
        self._busy_sessions.labels(name, version).set(load.busy_sessions)

    def drop_live(self, name: str, version: str) -> None:
        """Drop what is true only of a version that serves."""
        for family in self._live:
            family.remove_by_labels({"model": name, "version": version})

    def drop(self, name: str, version: str) -> None:
        """Drop all series of a version."""
        self.drop_live(name, version)
        for family in self._counts:
            family.remove_by_labels({"model": name, "version": version})

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, (*_MODEL, *labels), registry=self._registry)

    def _gauge(self, name: str, text: str, mode: str, *labels: str) -> Gauge:
        return Gauge(name, text, (*_MODEL, *labels), registry=self._registry, multiprocess_mode=mode)  # type: ignore[arg-type]

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, text, _MODEL, buckets=buckets, registry=self._registry)
