"""Counts and times of the statistics extension, from the events that every observer is told of."""

from typing import Any

import msgspec
import pytest

from service.inference.execution import RunReport
from service.inference.served_model import Load, ModelFacts
from service.observability.combined import Combined
from service.observability.statistics import Statistics


@pytest.fixture
def statistics() -> Statistics:
    """Give statistics of nothing yet."""
    return Statistics()


def counted(statistics: Statistics) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(statistics.of("m", 1))
    return found


def test_run_is_counted_for_each_request_and_once_for_its_size(statistics: Statistics) -> None:
    observer = statistics.model("m", 1)
    observer.ran(RunReport(rows=3, padding=1, seconds=0.4, requests=2, input_seconds=0.1, output_seconds=0.05), reason="idle")

    found = counted(statistics)

    assert (found["inference_count"], found["execution_count"]) == (3, 1)
    assert found["inference_stats"]["compute_input"] == {"count": 2, "ns": 200_000_000}
    assert found["inference_stats"]["compute_infer"] == {"count": 2, "ns": 500_000_000}
    assert found["inference_stats"]["compute_output"] == {"count": 2, "ns": 100_000_000}
    assert found["batch_stats"] == [
        {
            "batch_size": 4,
            "compute_input": {"count": 1, "ns": 100_000_000},
            "compute_infer": {"count": 1, "ns": 250_000_000},
            "compute_output": {"count": 1, "ns": 50_000_000},
        }
    ]


def test_failed_run_is_no_inference(statistics: Statistics) -> None:
    observer = statistics.model("m", 1)
    observer.ran(RunReport(rows=3, padding=0, seconds=0.4, failed=True), reason="idle")
    observer.answered(outcome="failed", reason="model_failed", seconds=0.5)

    found = counted(statistics)

    assert (found["inference_count"], found["execution_count"], found["batch_stats"]) == (0, 0, [])
    assert found["inference_stats"]["fail"] == {"count": 1, "ns": 500_000_000}
    assert found["inference_stats"]["success"] == {"count": 0, "ns": 0}
    assert found["last_inference"] > 0


def test_looks_into_the_cache_are_told_apart(statistics: Statistics) -> None:
    observer = statistics.model("m", 1)
    observer.looked_up(found=True, seconds=0.001)
    observer.looked_up(found=False, seconds=0.002)
    observer.ran(RunReport(rows=2, padding=0, seconds=0.1, waits=[0.25, 0.5]), reason="idle")

    stats = counted(statistics)["inference_stats"]

    assert stats["cache_hit"] == {"count": 1, "ns": 1_000_000}
    assert stats["cache_miss"] == {"count": 1, "ns": 2_000_000}
    assert stats["queue"] == {"count": 2, "ns": 750_000_000}


def test_version_that_is_loaded_anew_counts_from_zero(statistics: Statistics) -> None:
    statistics.model("m", 1).answered(outcome="ok", reason="", seconds=1.0)
    statistics.model("m", 1)

    assert counted(statistics)["inference_stats"]["success"]["count"] == 0


def test_version_that_is_gone_is_forgotten(statistics: Statistics) -> None:
    statistics.model("m", 1)
    statistics.unloaded("m", 1)
    statistics.unloaded("m", 1)

    with pytest.raises(KeyError):
        statistics.of("m", 1)


def test_every_observer_is_told() -> None:
    first, second = Statistics(), Statistics()
    combined = Combined(first, second)
    facts = ModelFacts(nodes={}, missing_providers=0, instances=1, threads=1, nbytes=700)
    observer = combined.model("m", 1)
    observer.serves(facts, lambda: Load(0, 0))
    observer.ran(RunReport(rows=1, padding=0, seconds=0.1), reason="idle")
    observer.looked_up(found=True, seconds=0.1)
    observer.answered(outcome="ok", reason="", seconds=0.1)
    combined.load_ended("m", seconds=1.0, failed=False)

    assert counted(first)["inference_stats"] == counted(second)["inference_stats"]
    assert counted(first)["inference_stats"]["success"]["count"] == 1
    assert counted(first)["memory_usage"] == [{"type": "CPU", "id": 0, "byte_size": 700}]
    combined.unloaded("m", 1)
    for statistics in (first, second):
        with pytest.raises(KeyError):
            statistics.of("m", 1)
