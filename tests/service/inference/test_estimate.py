import sys
import threading
from collections.abc import Iterator

import pytest

from service.inference.estimate import RunTimes


def known(**seconds: float) -> RunTimes:
    times = RunTimes()
    for rows, value in seconds.items():
        times.learn(int(rows.removeprefix("rows")), value)
    return times


def test_shorter_runs_are_believed_at_once_and_longer_ones_slowly() -> None:
    times = known(rows4=1.0)
    times.learn(4, 0.5)
    assert times.known(4) == 0.5

    times.learn(4, 0.9)
    assert times.known(4) == pytest.approx(0.525)


def test_runs_of_about_the_same_size_are_of_one_kind() -> None:
    times = known(rows4=1.0)

    assert times.known(7) == 1.0
    assert times.known(8) is None


def test_without_experience_of_a_size_the_next_smaller_is_the_least() -> None:
    times = known(rows1=0.1, rows8=0.4)

    assert times.at_least(64) == 0.4
    assert times.at_least(4) == 0.1
    assert RunTimes().at_least(1) == 0.0


def test_a_row_takes_least_in_the_runs_that_suit_it() -> None:
    times = known(rows1=0.1, rows4=0.2, rows64=12.8)

    assert times.of_a_row(8) == pytest.approx(0.05)
    assert times.of_a_row(1) == times.of_a_run() == pytest.approx(0.1)
    assert RunTimes().of_a_row(8) == RunTimes().of_a_run() == 0.0


@pytest.fixture
def often_interrupted() -> Iterator[None]:
    """Have threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often_interrupted")
def test_times_may_be_asked_while_runs_of_new_sizes_end() -> None:
    for _ in range(3000):
        times = RunTimes()
        thread = threading.Thread(target=lambda times=times: [times.learn(1 << size, 0.1) for size in range(16)])
        thread.start()
        while thread.is_alive():
            times.of_a_row(64)
            times.at_least(64)


@pytest.mark.parametrize(
    ("rows", "ahead", "sessions", "seconds"),
    [
        pytest.param(1, 0, 1, 0.1, id="nothing waits"),
        pytest.param(1, 3, 1, 0.2, id="all in one run"),
        pytest.param(1, 16, 1, 0.9, id="behind two full batches"),
        pytest.param(1, 16, 2, 0.5, id="two sessions share them"),
        pytest.param(8, 8, 1, 0.8, id="exactly full batches"),
    ],
)
def test_wait_is_that_of_the_runs_before(rows: int, ahead: int, sessions: int, seconds: float) -> None:
    times = known(rows1=0.1, rows4=0.2, rows8=0.4)

    assert times.until_done(rows, ahead=ahead, max_batch_size=8, sessions=sessions) == pytest.approx(seconds)
