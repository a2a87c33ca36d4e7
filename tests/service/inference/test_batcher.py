import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.errors import ModelFailed, QueueFull, ShuttingDown

pytestmark = pytest.mark.anyio

MakeBench = Callable[..., Any]
HOUR = 3600.0


async def test_idle_session_takes_a_request_at_once(bench: MakeBench) -> None:
    one = bench()

    answer = await (await one.call(1))

    assert answer == [10]
    assert one.observer.reasons == ["idle"]


async def test_requests_that_arrive_together_run_together(bench: MakeBench) -> None:
    one = bench()
    callers = [one.start(value) for value in (1, 2, 3)]

    answers = await asyncio.gather(*callers)

    assert answers == [[10], [20], [30]]
    assert one.model.runs == [[1, 2, 3]]


async def test_requests_that_wait_share_the_next_run(bench: MakeBench) -> None:
    one = bench()
    busy = await one.occupied()
    callers = [await one.call(value) for value in (1, 2, 3)]
    one.model.go_on()

    answers = await asyncio.gather(busy, *callers)

    assert answers == [[0], [10], [20], [30]]
    assert one.model.runs == [[0], [1, 2, 3]]


async def test_session_goes_on_while_the_event_loop_is_busy(bench: MakeBench) -> None:
    one = bench(max_batch_size=1)
    busy = await one.occupied()
    callers = [await one.call(value) for value in (1, 2, 3)]
    one.model.go_on()
    deadline = time.monotonic() + 30
    while len(one.model.runs) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)  # noqa: ASYNC251 -- it is the loop that is busy

    assert one.model.runs == [[0], [1], [2], [3]]
    assert await asyncio.gather(busy, *callers) == [[0], [10], [20], [30]]


async def test_batch_size_counts_rows(bench: MakeBench) -> None:
    one = bench(max_batch_size=4)
    await one.occupied()
    callers = [await one.call(*values) for values in ((1, 2), (3, 4), (5,))]
    one.model.go_on()

    answers = await asyncio.gather(*callers)

    assert answers == [[10, 20], [30, 40], [50]]
    assert one.model.runs == [[0], [1, 2, 3, 4], [5]]


async def test_full_batch_says_so(bench: MakeBench) -> None:
    one = bench(max_batch_size=2)
    await one.occupied()
    callers = [await one.call(1), await one.call(2)]
    one.model.go_on()

    await asyncio.gather(*callers)

    assert one.observer.reasons == ["idle", "full"]


async def test_large_request_is_split_and_joined_in_order(bench: MakeBench) -> None:
    one = bench(max_batch_size=3)
    values = [float(value) for value in range(1, 9)]

    answer = await (await one.call(*values))

    assert answer == [10 * value for value in values]
    assert one.model.runs == [[1, 2, 3], [4, 5, 6], [7, 8]]


async def test_rest_of_a_large_request_shares_its_run_with_others(bench: MakeBench) -> None:
    one = bench(max_batch_size=3)
    await one.occupied()
    large, small = await one.call(1, 2, 3, 4), await one.call(5)
    one.model.go_on()

    answers = await asyncio.gather(large, small)

    assert answers == [[10, 20, 30, 40], [50]]
    assert one.model.runs[1:] == [[1, 2, 3], [4, 5]]


async def test_requests_of_different_keys_never_share_a_run(bench: MakeBench) -> None:
    one = bench()
    await one.occupied()
    callers = [await one.call(value, key=key) for value, key in ((1, "a"), (2, "b"), (3, "a"), (4, "b"))]
    one.model.go_on()

    await asyncio.gather(*callers)

    assert one.model.runs[1:] == [[1, 3], [2, 4]]


async def test_without_merging_every_request_is_a_run(bench: MakeBench) -> None:
    """Also one of more rows than `max_batch_size`: such a model must see its rows together."""
    one = bench(max_batch_size=2, merge_requests=False)
    await one.occupied()
    callers = [await one.call(1, 2, 3), await one.call(4)]
    one.model.go_on()

    answers = await asyncio.gather(*callers)

    assert answers == [[10, 20, 30], [40]]
    assert one.model.runs[1:] == [[1, 2, 3], [4]]


async def test_full_queue_refuses(bench: MakeBench) -> None:
    one = bench(max_queue_size=2)
    await one.occupied()
    await one.call(1, 2)

    with pytest.raises(QueueFull, match="2 rows"):
        await (await one.call(3))


async def test_callers_who_left_free_the_queue(bench: MakeBench) -> None:
    one = bench(max_queue_size=2)
    await one.occupied()
    gone = await one.call(1, 2)
    gone.cancel()
    await asyncio.wait([gone])
    caller = await one.call(3, 4)
    one.model.go_on()

    assert await caller == [30, 40]


async def test_caller_who_left_before_the_run_is_not_run(bench: MakeBench) -> None:
    """The other callers of the batch still get their rows."""
    one = bench()
    await one.occupied()
    first, gone, last = [await one.call(value) for value in (1, 2, 3)]
    gone.cancel()
    await asyncio.wait([gone])
    one.model.go_on()

    assert await asyncio.gather(first, last) == [[10], [30]]
    assert one.model.runs[1:] == [[1, 3]]


async def test_caller_who_leaves_during_the_run_harms_no_other(bench: MakeBench) -> None:
    one = bench(max_queue_delay=HOUR, max_batch_size=3)
    one.model.hold()
    first, gone, last = [await one.call(value) for value in (1, 2, 3)]
    await one.model.begun()
    gone.cancel()
    await asyncio.wait([gone])
    one.model.go_on()

    assert await asyncio.gather(first, last) == [[10], [30]]
    assert gone.cancelled()
    assert one.model.runs == [[1, 2, 3]]


async def test_pieces_of_a_caller_who_left_are_not_run(bench: MakeBench) -> None:
    one = bench(max_batch_size=2)
    await one.occupied()
    gone, waiting = await one.call(1, 2, 3, 4), await one.call(5)
    gone.cancel()
    await asyncio.wait([gone])
    one.model.go_on()

    assert await waiting == [50]
    assert one.model.runs[1:] == [[5]]


async def test_only_the_guilty_request_of_a_batch_fails(bench: MakeBench) -> None:
    one = bench()
    one.model.poison = {2}
    await one.occupied()
    first, guilty, last = [await one.call(value) for value in (1, 2, 3)]
    one.model.go_on()

    outcomes = await asyncio.gather(first, guilty, last, return_exceptions=True)

    assert outcomes[0] == [10]
    assert outcomes[2] == [30]
    assert isinstance(outcomes[1], ModelFailed)
    assert str(outcomes[1]) == "Model 'm' version 1 failed to run: poison"
    assert one.model.runs[1:] == [[1, 2, 3], [1], [2, 3], [2], [3]]  # by halves
    assert one.observer.reasons == ["idle", "idle", *["retry"] * 4]


async def test_failed_piece_fails_its_request_once(bench: MakeBench) -> None:
    one = bench(max_batch_size=2)
    one.model.poison = {1, 5}

    with pytest.raises(ModelFailed):
        await (await one.call(1, 2, 3, 4, 5, 6))

    assert await (await one.call(7)) == [70]


async def test_session_goes_on_after_a_failed_run(bench: MakeBench) -> None:
    one = bench()
    one.model.poison = {1}

    with pytest.raises(ModelFailed):
        await (await one.call(1))

    assert await (await one.call(2)) == [20]


async def test_wrong_number_of_output_rows_fails_every_caller(bench: MakeBench) -> None:
    held = threading.Event()

    def run(inputs: list[Any]) -> list[Any]:
        held.wait(30)
        return [inputs[0][:-1]]

    one = bench(run=run)
    callers = [await one.call(value) for value in (1, 2, 3)]
    held.set()

    outcomes = await asyncio.gather(*callers, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [ModelFailed] * 3
    assert "for 1 input rows" in str(outcomes[0])


async def test_delay_lets_requests_meet(bench: MakeBench) -> None:
    one = bench(max_queue_delay=0.05)
    callers = [await one.call(value) for value in (1, 2)]

    await asyncio.gather(*callers)

    assert one.model.runs == [[1, 2]]
    assert one.observer.reasons == ["delay"]


async def test_delay_belongs_to_the_oldest_request(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that arrives when the delay of another has passed starts the run of both."""
    now = 0.0
    monkeypatch.setattr("service.inference.entry.perf_counter", lambda: now)
    monkeypatch.setattr("service.inference.batcher.perf_counter", lambda: now)
    one = bench(max_queue_delay=HOUR)
    first = await one.call(1)
    now = HOUR
    second = await one.call(2)

    assert await asyncio.gather(first, second) == [[10], [20]]
    assert one.model.runs == [[1, 2]]
    assert one.observer.reasons == ["delay"]


async def test_full_batch_does_not_wait_for_its_delay(bench: MakeBench) -> None:
    one = bench(max_queue_delay=HOUR, max_batch_size=2)
    callers = [await one.call(1), await one.call(2)]

    assert await asyncio.gather(*callers) == [[10], [20]]
    assert one.observer.reasons == ["full"]


async def test_full_lane_does_not_wait_for_the_delay_of_another(bench: MakeBench) -> None:
    one = bench(max_queue_delay=HOUR, max_batch_size=2)
    waiting = await one.call(1, key="a")
    full = await one.call(2, 3, key="b")

    assert await full == [20, 30]
    assert not waiting.done()
    assert one.model.runs == [[2, 3]]


async def test_model_that_cannot_merge_does_not_wait_for_a_delay(bench: MakeBench) -> None:
    one = bench(max_queue_delay=HOUR, merge_requests=False)

    assert await (await one.call(1)) == [10]


async def test_steady_brief_runs_need_no_worker(bench: MakeBench) -> None:
    threads: list[int] = []

    def run(inputs: Any) -> list[Any]:
        threads.append(threading.get_ident())
        return [inputs[0] * 10]

    one = bench(run=run, steady=True)
    for _ in range(50):
        assert await (await one.call(1)) == [10]

    assert threads[0] != threading.get_ident()
    assert threads[-1] == threading.get_ident()


async def test_with_one_cpu_runs_of_milliseconds_take_turns_with_the_event_loop(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.inference.batcher.available_cpus", lambda: 1)
    threads: list[int] = []
    turns: list[int] = []

    def run(inputs: Any) -> list[Any]:
        threads.append(threading.get_ident())
        began = time.thread_time()
        while time.thread_time() - began < 0.002:
            pass
        return [inputs[0] * 10]

    async def take_turns() -> None:
        while True:
            turns.append(len(threads))
            await asyncio.sleep(0)

    one = bench(run=run, steady=True, max_batch_size=1)
    await (await one.call(0))
    taking = asyncio.create_task(take_turns())
    callers = [await one.call(value) for value in range(20)]
    await one.batcher.close()
    taking.cancel()

    assert await asyncio.gather(*callers) == [[10 * value] for value in range(20)]
    assert set(threads[1:]) == {threading.get_ident()}
    assert len(set(turns)) >= 3


async def test_runs_of_any_length_leave_the_event_loop_free(bench: MakeBench) -> None:
    threads: set[int] = set()

    def run(inputs: Any) -> list[Any]:
        threads.add(threading.get_ident())
        return [inputs[0] * 10]

    one = bench(run=run)
    for _ in range(50):
        await (await one.call(1))

    assert threading.get_ident() not in threads


async def test_workers_run_at_the_same_time(bench: MakeBench) -> None:
    one = bench(workers=2)
    one.model.hold()
    callers = [await one.call(1), await one.call(2)]
    await one.model.begun()
    await one.model.begun()
    one.model.go_on()

    assert await asyncio.gather(*callers) == [[10], [20]]


async def test_close_finishes_what_was_accepted(bench: MakeBench) -> None:
    one = bench()
    running = await one.occupied()
    waiting = await one.call(1)
    closing = asyncio.create_task(one.batcher.close())
    await asyncio.sleep(0)

    with pytest.raises(ShuttingDown):
        await (await one.call(2))
    one.model.go_on()
    await closing

    assert await asyncio.gather(running, waiting) == [[0], [10]]


async def test_close_does_not_wait_for_a_delay(bench: MakeBench) -> None:
    one = bench(max_queue_delay=HOUR)
    waiting = await one.call(1)
    await one.batcher.close()

    assert await waiting == [10]
    assert one.observer.reasons == ["shutdown"]


async def test_close_resolves_failing_requests_too(bench: MakeBench) -> None:
    one = bench()
    one.model.poison = {1}
    await one.occupied()
    waiting = await one.call(1)
    closing = asyncio.create_task(one.batcher.close())
    one.model.go_on()
    await closing

    with pytest.raises(ModelFailed):
        await waiting


async def test_close_of_an_idle_batcher_returns(bench: MakeBench) -> None:
    one = bench()

    await one.batcher.close()

    with pytest.raises(ShuttingDown):
        await (await one.call(1))


async def test_close_with_only_abandoned_requests_returns(bench: MakeBench) -> None:
    one = bench(max_queue_delay=HOUR)
    gone = await one.call(1)
    gone.cancel()
    await asyncio.wait([gone])

    await one.batcher.close()

    assert one.model.runs == []


async def test_pending_rows_are_reported(bench: MakeBench) -> None:
    one = bench()
    await one.occupied()
    caller = await one.call(1, 2, 3)

    assert one.batcher.pending_rows == 3
    one.model.go_on()
    await caller
    assert one.batcher.pending_rows == 0


async def test_timing_tells_where_the_time_went(bench: MakeBench) -> None:
    one = bench()
    await one.occupied()
    await one.call(1, 2)
    submitted = asyncio.create_task(one.batcher.submit([np.ones((1, 1), np.float32)], rows=1, key=None))
    await asyncio.sleep(0)
    one.model.go_on()

    _outputs, timing = await submitted

    assert timing.queue_seconds > 0
    assert timing.compute_seconds > 0
