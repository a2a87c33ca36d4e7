"""Series of versions that no longer serve: kept for a scraper, then gone, with one process and with several."""

from collections.abc import Iterator

import pytest
from prometheus_client import values
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from service.inference.served_model import Load, ModelFacts
from service.observability import shared_values
from service.observability.metrics import Metrics
from service.observability.retirement import KEPT_SECONDS, MOST_KEPT, Retirement
from service.observability.shared_values import Segment
from service.registry import State, VersionStatus

FACTS = ModelFacts(nodes={"CPUExecutionProvider": 7}, missing_providers=0, instances=1, threads=1, nbytes=100)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Make a clock."""
    return Clock()


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Let other tests have the values of prometheus_client."""
    kind = values.ValueClass
    yield
    values.ValueClass = kind


def serve(metrics: Metrics, version: int, *, requests: int = 1) -> None:
    """Have a version serve."""
    model = metrics.model("m", version)
    model.serves(FACTS, lambda: Load(3, 1))
    metrics.state_changed(VersionStatus("m", State.READY, str(version)))
    for _ in range(requests):
        model.answered(outcome="ok", reason="", seconds=0.1)


def take_down(metrics: Metrics, version: int) -> None:
    """Take a version down, as transitions.py reports it."""
    metrics.state_changed(VersionStatus("m", State.UNLOADING, str(version)))
    metrics.unloaded("m", version)
    metrics.state_changed(VersionStatus("m", State.UNAVAILABLE, str(version), "replaced"))


def samples(metrics: Metrics, **labels: str) -> dict[str, float]:
    """Return the sums of all samples with these labels, by name."""
    metrics.looked(0.0)
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.exposition("application/openmetrics-text")[0].decode()):
        for sample in family.samples:
            if labels.items() <= sample.labels.items():
                found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def test_counts_of_a_version_that_was_taken_down_can_still_be_read(clock: Clock) -> None:
    metrics = Metrics(server_version="0", clock=clock)
    serve(metrics, 1)
    take_down(metrics, 1)
    clock.now = KEPT_SECONDS - 1
    found = samples(metrics, version="1")

    assert found["axon_inference_requests_total"] == 1
    assert found["axon_model_state"] == 1
    assert not {name for name in found if "pending" in name or "sessions" in name or "provider" in name or "bytes" in name}


def test_series_of_a_version_go_when_they_could_be_read(clock: Clock) -> None:
    metrics = Metrics(server_version="0", clock=clock)
    serve(metrics, 1)
    take_down(metrics, 1)
    serve(metrics, 2)
    clock.now = KEPT_SECONDS

    assert samples(metrics, version="1") == {}
    assert samples(metrics, version="2")["axon_inference_requests_total"] == 1


def test_swapping_all_the_time_keeps_a_bounded_number_of_versions(clock: Clock) -> None:
    metrics = Metrics(server_version="0", clock=clock)
    for version in range(1, 100):
        serve(metrics, version)
        take_down(metrics, version)

    assert samples(metrics, model="m")["axon_inference_requests_total"] == MOST_KEPT
    assert samples(metrics, version="99")["axon_inference_requests_total"] == 1


def test_version_that_serves_again_keeps_its_counts(clock: Clock) -> None:
    metrics = Metrics(server_version="0", clock=clock)
    serve(metrics, 1)
    take_down(metrics, 1)
    clock.now = KEPT_SECONDS - 1
    serve(metrics, 1)
    clock.now = 10 * KEPT_SECONDS

    assert samples(metrics, version="1")["axon_inference_requests_total"] == 2


def test_series_of_a_model_that_is_gone_go(clock: Clock) -> None:
    metrics = Metrics(server_version="0", clock=clock)
    metrics.load_ended("m", seconds=1.0, failed=True)
    metrics.state_changed(VersionStatus("m", State.UNAVAILABLE, "1", "broken"))
    clock.now = 2 * KEPT_SECONDS
    assert samples(metrics, model="m")["axon_model_load_failures_total"] == 1, "it is still in the repository"
    metrics.forgotten("m", "1")
    metrics.forgotten("m", "")
    clock.now = 3 * KEPT_SECONDS

    assert samples(metrics, model="m") == {}


def test_what_is_told_late_of_a_version_that_is_gone_counts_for_no_other(clock: Clock) -> None:
    segments = [Segment(size=1 << 20), Segment(size=1 << 12)]
    shared_values.keep_values_in(segments[0])
    metrics = Metrics(server_version="0", segments=segments, own=segments[0], clock=clock)
    late = metrics.model("m", 1)
    take_down(metrics, 1)
    clock.now = KEPT_SECONDS
    metrics.looked(0.0)
    serve(metrics, 2)  # takes the places in memory
    late.answered(outcome="ok", reason="", seconds=0.1)

    assert samples(metrics, version="2")["axon_inference_requests_total"] == 1


def test_memory_of_series_that_are_gone_is_used_again(clock: Clock) -> None:
    """Otherwise a server with workers would run out of it: 64 MiB are about 3,000 versions."""
    segments = [Segment(size=1 << 18), Segment(size=1 << 12)]  # too little for ten versions
    shared_values.keep_values_in(segments[0])
    metrics = Metrics(server_version="0", segments=segments, own=segments[0], clock=clock)
    for version in range(100, 200):
        serve(metrics, version)
        take_down(metrics, version)
        clock.now += KEPT_SECONDS
        metrics.looked(0.0)
        assert samples(metrics, version=str(version - 1)) == {}
    serve(metrics, 200, requests=5)

    assert samples(metrics, version="200")["axon_inference_requests_total"] == 5


def worker(number: int, segments: list[Segment], clock: Clock) -> Metrics:
    """Make the metrics of a worker as its process does, and with a version that has answered ten requests."""
    shared_values.keep_values_in(segments[number])
    metrics = Metrics(server_version="0", segments=segments, own=segments[number], clock=clock)
    serve(metrics, 1, requests=10)
    return metrics


def test_no_part_of_a_count_is_shown_while_workers_let_a_version_go_one_after_another(clock: Clock) -> None:
    """A count that got smaller would look like one that began again, and all of it like an increase."""
    segments = [Segment(size=1 << 20) for _ in range(3)]
    first, second = worker(0, segments, clock), worker(1, segments, clock)
    take_down(first, 1)
    clock.now = 10
    take_down(second, 1)
    clock.now = KEPT_SECONDS - 1
    assert samples(first, version="1")["axon_inference_requests_total"] == 20
    clock.now = KEPT_SECONDS + 5
    first.looked(0.0)

    assert samples(second, version="1") == {}
    clock.now = 5 * KEPT_SECONDS
    first.looked(0.0)
    assert samples(second, version="1") == {}


def test_worker_that_takes_a_place_lets_go_what_the_last_one_left(clock: Clock) -> None:
    segments = [Segment(size=1 << 20) for _ in range(2)]
    worker(0, segments, clock)
    segments[0].forget_gauges()  # it was killed
    segments[0]._places = None  # another process knows nothing of what the first one knew
    segments[0]._by_version.clear()
    shared_values.keep_values_in(segments[0])
    again = Metrics(server_version="0", segments=segments, own=segments[0], clock=clock)
    serve(again, 2)

    assert samples(again, version="1")["axon_inference_requests_total"] == 10
    clock.now = KEPT_SECONDS
    assert samples(again, version="1") == {}
    assert samples(again, version="2")["axon_inference_requests_total"] == 1


def test_version_is_due_once(clock: Clock) -> None:
    retirement = Retirement(seconds=10, most=2, clock=clock)
    for version in "123":
        retirement.retire(("m", version))

    assert retirement.due() == [("m", "1")]
    assert retirement.due() == []
    clock.now = 10
    assert sorted(retirement.due()) == [("m", "2"), ("m", "3")]
