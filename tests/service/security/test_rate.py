"""The token bucket."""

from typing import Any

import pytest

from service.security.rate import Bucket


def test_burst_passes_at_once_and_the_rate_afterwards(clock: Any) -> None:
    bucket = Bucket(10.0, 3, clock=clock)

    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take() == pytest.approx(0.1)


def test_wait_that_is_told_is_long_enough_and_no_longer(clock: Any) -> None:
    bucket = Bucket(4.0, 1, clock=clock)
    bucket.take()
    clock.seconds += 0.1
    wait = bucket.take()

    clock.seconds += wait - 0.001
    assert bucket.take() > 0
    clock.seconds += 0.0011
    assert bucket.take() == 0.0


def test_refused_requests_cost_nothing(clock: Any) -> None:
    bucket = Bucket(1.0, 1, clock=clock)
    bucket.take()
    waits = {bucket.take() for _ in range(100)}

    assert waits == {1.0}


def test_pause_saves_up_the_burst_and_no_more(clock: Any) -> None:
    bucket = Bucket(10.0, 3, clock=clock)
    clock.seconds += 3600

    assert sum(bucket.take() == 0.0 for _ in range(10)) == 3


@pytest.mark.parametrize("rate", [0.5, 7.0, 1000.0])
def test_long_run_is_the_rate(clock: Any, rate: float) -> None:
    """Asked far more often than the rate for 100 s."""
    bucket = Bucket(rate, 1, clock=clock)
    passed = 0
    for step in range(100_000):
        clock.seconds = 1000.0 + step * 0.001
        passed += bucket.take() == 0.0

    assert passed == pytest.approx(rate * 100, abs=1)
