"""Metrics of several processes in shared memory. Here all of them are in one process, one after another."""

import os
from collections.abc import Iterator

import prometheus_client
import pytest
from prometheus_client import values
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from service.inference.served_model import Load, ModelFacts
from service.observability import shared_values
from service.observability.metrics import Metrics, WorkerMetrics
from service.observability.shared_values import Segment
from service.registry import State, VersionStatus

SIZE = 1 << 20
FACTS = ModelFacts(nodes={"CPUExecutionProvider": 7}, missing_providers=0, instances=2, threads=3, nbytes=100)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Let other tests have the values of prometheus_client."""
    kind = values.ValueClass
    yield
    values.ValueClass = kind


def worker(segment: Segment, segments: list[Segment]) -> Metrics:
    """Build the metrics of a worker as its process does."""
    shared_values.keep_values_in(segment)
    return Metrics(server_version="1", segments=segments, own=segment)


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return a sample of what a scrape of one worker shows."""
    text = metrics.exposition("application/openmetrics-text")[0].decode()
    found = [
        entry.value
        for family in text_string_to_metric_families(text)
        for entry in family.samples
        if entry.name == name and all(entry.labels[key] == value for key, value in labels.items())
    ]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.fixture
def segments() -> list[Segment]:
    """Make memory for two workers and their parent."""
    return [Segment(size=SIZE) for _ in range(3)]


def test_counts_and_histograms_are_added_and_gauges_go_by_their_mode(segments: list[Segment]) -> None:
    both = []
    for segment, seconds in zip(segments[:2], (0.003, 0.3), strict=True):
        metrics = worker(segment, segments)
        both.append(metrics)
        model = metrics.model("m", 1)
        model.answered(outcome="ok", reason="", seconds=seconds)
        model.serves(FACTS, lambda: Load(3, 0))
        metrics.state_changed(VersionStatus("m", State.READY, "1"))
        metrics.looked(0.0)

    for metrics in both:
        assert sample(metrics, "axon_inference_requests_total", outcome="ok") == 2
        assert sample(metrics, "axon_inference_request_duration_seconds_bucket", le="0.0025") == 0
        assert sample(metrics, "axon_inference_request_duration_seconds_bucket", le="0.005") == 1
        assert sample(metrics, "axon_inference_request_duration_seconds_bucket", le="0.5") == 2
        assert sample(metrics, "axon_inference_request_duration_seconds_count") == 2
        assert sample(metrics, "axon_inference_request_duration_seconds_sum") == pytest.approx(0.303)
        assert sample(metrics, "axon_inference_pending_rows") == 6
        assert sample(metrics, "axon_model_state", state="READY") == 1


def test_counts_of_a_dead_worker_stay_and_its_gauges_go(segments: list[Segment]) -> None:
    dead = worker(segments[0], segments)
    dead.model("m", 1).answered(outcome="ok", reason="", seconds=0.1)
    dead.model("m", 1).serves(FACTS, lambda: Load(5, 0))
    dead.looked(0.0)
    segments[0].forget_gauges()
    living = worker(segments[1], segments)

    assert sample(living, "axon_inference_requests_total", outcome="ok") == 1
    assert sample(living, "axon_inference_pending_rows") is None


def test_next_worker_goes_on_with_the_counts_of_the_last(segments: list[Segment]) -> None:
    worker(segments[0], segments).model("m", 1).answered(outcome="ok", reason="", seconds=0.1)
    segments[0].forget_gauges()
    again = worker(segments[0], segments)
    again.model("m", 1).answered(outcome="ok", reason="", seconds=0.1)

    assert sample(again, "axon_inference_requests_total", outcome="ok") == 2


def test_pending_rows_of_an_unloaded_version_are_taken_back(segments: list[Segment]) -> None:
    metrics = worker(segments[0], segments)
    metrics.model("m", 1).serves(FACTS, lambda: Load(5, 0))
    assert sample(metrics, "axon_inference_pending_rows") == 5
    metrics.unloaded("m", 1)

    assert sample(metrics, "axon_inference_pending_rows") is None
    metrics.model("m", 1).serves(FACTS, lambda: Load(2, 0))
    assert sample(metrics, "axon_inference_pending_rows") == 2


def test_parent_tells_how_many_workers_there_are(segments: list[Segment]) -> None:
    parent = WorkerMetrics(segments[2])
    parent.running(2)
    parent.restarted()
    metrics = worker(segments[0], segments)

    assert sample(metrics, "axon_workers") == 2
    assert sample(metrics, "axon_worker_restarts_total") == 1


def test_series_beyond_the_memory_are_left_out_and_break_nothing() -> None:
    small = Segment(size=4096)
    shared_values.keep_values_in(small)
    counters = [prometheus_client.Counter(f"c{number}", "C.", registry=None) for number in range(200)]
    for counter in counters:
        counter.inc()

    assert 10 < len(list(small.items())) < 200
    assert {value for _, value in small.items()} == {1.0}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("text/plain", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2", "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_openmetrics_is_for_those_who_ask(accept: str, content_type: str) -> None:
    content, given = Metrics(server_version="1").exposition(accept)

    assert given.startswith(content_type)
    assert content.endswith(b"# EOF\n") is content_type.startswith("application")


def test_one_process_is_one_worker() -> None:
    metrics = Metrics(server_version="1")

    assert sample(metrics, "axon_workers") == 1
    assert sample(metrics, "axon_worker_restarts_total") == 0


def test_processes_are_added_up(segments: list[Segment]) -> None:
    alone = sample(Metrics(server_version="1"), "process_resident_memory_bytes")
    for segment in segments:
        segment.pid = os.getpid()
    metrics = worker(segments[0], segments)

    assert alone is not None
    assert sample(metrics, "process_resident_memory_bytes") == pytest.approx(alone, rel=0.2), "a process counts once"
    assert sample(metrics, "process_start_time_seconds") == sample(Metrics(server_version="1"), "process_start_time_seconds")
