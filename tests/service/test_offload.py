"""Work beside the event loop: how much of it there is at a time, and what becomes of it when its caller leaves."""

import asyncio
import threading

import pytest

from service.offload import Turns, offload

pytestmark = pytest.mark.anyio
DEADLINE = 20.0


async def test_only_so_many_are_at_work_and_the_others_follow() -> None:
    turns, begun, release = Turns(2), threading.Semaphore(0), threading.Event()
    at_work: list[int] = []
    most: list[int] = []

    def work(number: int) -> int:
        at_work.append(number)
        most.append(len(at_work))
        begun.release()
        release.wait(DEADLINE)
        at_work.remove(number)
        return number

    tasks = [asyncio.create_task(turns.run(work, number)) for number in range(6)]
    for _ in range(2):
        await offload(begun.acquire)
    assert await offload(lambda: 7) == 7  # what is no client's work waits for nobody
    release.set()

    assert await asyncio.gather(*tasks) == list(range(6))
    assert max(most) == 2


async def test_turn_of_a_caller_who_left_lasts_until_the_work_is_done() -> None:
    """The memory that it takes is taken until then."""
    turns, release, begun = Turns(1), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(DEADLINE)

    left = asyncio.create_task(turns.run(work))
    await offload(begun.wait, DEADLINE)
    left.cancel()
    after = asyncio.create_task(turns.run(lambda: "done"))
    await asyncio.sleep(0.05)
    assert not after.done()
    release.set()

    assert await asyncio.wait_for(after, DEADLINE) == "done"


async def test_caller_who_leaves_before_its_turn_takes_none() -> None:
    turns, release = Turns(1), threading.Event()
    ran: list[int] = []
    first = asyncio.create_task(turns.run(release.wait, DEADLINE))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(turns.run(ran.append, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    release.set()
    await first

    await asyncio.wait_for(turns.run(ran.append, 2), DEADLINE)
    assert ran == [2]


async def test_failure_frees_the_turn() -> None:
    turns = Turns(1)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await turns.run(lambda: 1 // 0)
