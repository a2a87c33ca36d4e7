import asyncio
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from service.errors import QueueFull
from service.inference.admission import Admission
from service.inference.entry import Entry
from service.inference.estimate import RunTimes
from service.inference.queue import EntryQueue
from service.repository.configuration import Batching

Wait = Callable[[EntryQueue, int], None]


@pytest.fixture
def wait() -> Iterator[Wait]:
    """Return a function that has some rows wait in a queue."""
    loop = asyncio.new_event_loop()
    yield lambda queue, rows: queue.append(Entry([np.zeros((rows, 1))], rows, None, loop.create_future()))
    loop.close()


def admission(
    queue: EntryQueue, seconds: dict[int, float], *, size: int = 0, sessions: int = 1, merged_rows: int | None = 4
) -> Admission:
    """Return the admission to a queue of a model whose runs of some rows took some seconds."""
    times = RunTimes()
    for rows, each in seconds.items():
        times.learn(rows, each)
    return Admission("m", Batching(max_queue_size=size), queue, times, sessions=sessions, merged_rows=merged_rows)


def test_as_many_rows_wait_as_the_model_says(wait: Wait) -> None:
    queue = EntryQueue()
    asked = admission(queue, {1: 100.0}, size=5)
    wait(queue, 3)

    asked.refuse_if_full(2)
    with pytest.raises(QueueFull, match="5 rows waiting at most"):
        asked.refuse_if_full(3)


def test_request_larger_than_the_queue_is_admitted_when_nothing_waits(wait: Wait) -> None:
    queue = EntryQueue()
    asked = admission(queue, {}, size=5)

    asked.refuse_if_full(50)
    wait(queue, 1)
    with pytest.raises(QueueFull):
        asked.refuse_if_full(50)


@pytest.mark.parametrize(
    ("seconds", "sessions", "merged_rows", "rows"),
    [
        pytest.param({}, 1, 4, 4096, id="no experience"),
        pytest.param({4: 1e-3}, 1, 4, 4096, id="fast"),
        pytest.param({4: 0.2}, 1, 4, 600, id="half a minute's worth"),
        pytest.param({4: 0.2}, 2, 4, 1200, id="two sessions"),
        pytest.param({1: 0.2, 4: 0.2}, 1, 4, 600, id="the batch that counts"),
        pytest.param({1: 60.0}, 1, 4, 32, id="slower than anyone waits"),
    ],
)
def test_by_default_as_many_rows_wait_as_can_be_run_in_time(
    wait: Wait, seconds: dict[int, float], sessions: int, merged_rows: int | None, rows: int
) -> None:
    queue = EntryQueue()
    asked = admission(queue, seconds, sessions=sessions, merged_rows=merged_rows)

    assert asked.max_queue_size == rows
    wait(queue, rows - 1)
    asked.refuse_if_full(1)
    with pytest.raises(QueueFull, match=f"{rows} rows waiting at most"):
        asked.refuse_if_full(2)


def test_requests_that_are_runs_of_their_own_are_counted_instead_of_their_rows(wait: Wait) -> None:
    queue = EntryQueue()
    asked = admission(queue, {1000: 0.3}, merged_rows=None)
    for _ in range(99):
        wait(queue, 1000)

    asked.refuse_if_full(1000)
    wait(queue, 1000)
    with pytest.raises(QueueFull, match="100 requests waiting at most"):
        asked.refuse_if_full(1)
