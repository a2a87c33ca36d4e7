"""Deadlines, priorities, allowed batch sizes: what a request and model.toml may ask of the batcher beyond an answer."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest

from service.errors import DeadlineExceeded, QueueFull

pytestmark = pytest.mark.anyio

MakeBench = Callable[..., Any]
SOON = 0.05


async def test_deadline_that_passes_while_waiting_is_told_and_nothing_runs(bench: MakeBench) -> None:
    one = bench()
    busy = await one.occupied()
    late, other = await one.call(1, deadline=perf_counter() + SOON), await one.call(2)

    with pytest.raises(DeadlineExceeded, match="did not answer within the"):
        await late
    one.model.go_on()

    assert await asyncio.gather(busy, other) == [[0], [20]]
    assert one.model.runs[1:] == [[2]]


async def test_deadline_that_passes_during_the_run_is_told_at_once(bench: MakeBench) -> None:
    one = bench()
    one.model.hold()
    late, other = one.start(1, deadline=perf_counter() + SOON), one.start(2)

    with pytest.raises(DeadlineExceeded):
        await late
    one.model.go_on()

    assert await other == [20]
    assert one.model.runs == [[1, 2]]


async def test_deadline_in_the_past_takes_no_room(bench: MakeBench) -> None:
    one = bench()

    with pytest.raises(DeadlineExceeded):
        await (await one.call(1, deadline=perf_counter() - 1))

    assert one.model.runs == []
    assert one.batcher.pending_rows == 0


async def test_deadline_that_cannot_be_kept_is_refused_before_the_queue(bench: MakeBench) -> None:
    """Known from runs before: ten rows wait, two a run, each run as long as the first one was."""
    one = bench(max_batch_size=2)
    one.model.hold()
    first = await one.call(1, 1)
    await one.model.begun()
    await asyncio.sleep(SOON)
    one.model.go_on()
    await first
    await one.occupied()
    for _ in range(5):
        await one.call(2, 2)

    with pytest.raises(DeadlineExceeded, match="needs at least"):
        await (await one.call(3, deadline=perf_counter() + 3 * SOON))

    assert one.batcher.pending_rows == 10


async def test_deadline_that_is_kept_changes_nothing(bench: MakeBench) -> None:
    one = bench(max_batch_size=2)

    assert await (await one.call(1, 2, 3, deadline=perf_counter() + 60)) == [10, 20, 30]


async def test_urgent_requests_overtake(bench: MakeBench) -> None:
    one = bench(max_batch_size=2, priority_levels=3, default_priority_level=2)
    await one.occupied()
    callers = [await one.call(value, priority=priority) for value, priority in ((1, 3), (2, 0), (3, 1), (4, 2), (5, 99))]
    one.model.go_on()
    await asyncio.gather(*callers)

    assert one.model.runs[1:] == [[3, 2], [4, 5], [1]]


async def test_priorities_are_ignored_unless_the_model_has_levels(bench: MakeBench) -> None:
    one = bench(max_batch_size=1)
    await one.occupied()
    callers = [await one.call(value, priority=priority) for value, priority in ((1, 9), (2, 1))]
    one.model.go_on()
    await asyncio.gather(*callers)

    assert one.model.runs[1:] == [[1], [2]]


async def test_runs_are_filled_up_to_an_allowed_size(bench: MakeBench) -> None:
    """With copies of the last row, which nobody gets to see."""
    one = bench(batch_sizes=(2, 4))

    assert await (await one.call(1, 2, 3)) == [10, 20, 30]
    assert await (await one.call(4)) == [40]
    assert one.model.runs == [[1, 2, 3, 3], [4, 4]]
    assert [(run.rows, run.padding) for run in one.observer.runs] == [(3, 1), (1, 1)]


async def test_request_larger_than_the_allowed_sizes_is_split(bench: MakeBench) -> None:
    one = bench(batch_sizes=(2, 4))

    assert await (await one.call(1, 2, 3, 4, 5)) == [10, 20, 30, 40, 50]
    assert one.model.runs == [[1, 2, 3, 4], [5, 5]]


async def test_refusal_says_when_the_queue_will_have_room(bench: MakeBench) -> None:
    one = bench(max_batch_size=1, max_queue_size=100)
    one.model.hold()
    first = await one.call(0)
    await one.model.begun()
    await asyncio.sleep(SOON)
    one.model.go_on()
    await first
    await one.occupied()
    await one.call(*range(100))

    with pytest.raises(QueueFull) as refused:
        await (await one.call(1))

    assert int(refused.value.headers["retry-after"]) >= 100 * SOON
