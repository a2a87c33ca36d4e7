"""Blocking work beside the event loop, on threads that never hold up the end of the process."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Final, ParamSpec, TypeVar

THREAD_PREFIX: Final = "axon-"

# Bytes beyond which reading a request or writing an answer leaves the event loop: there it would take milliseconds, in which
# nothing else goes on. Below, a thread is a loss: it has to be started, and while it parses or writes JSON nobody else gets
# Python's lock, so that the loop runs only between the steps. What a byte costs depends on what it is.
LARGE_ROWS: Final = 1 << 16  # JSON whose values are looked at one by one: rows, named values
LARGE_ROWS_ANSWER: Final = 1 << 18  # outputs, as they are in memory, that become rows, labels, files
LARGE_TENSORS: Final = 1 << 20  # JSON of tensors, which is read into arrays in one go and written from them
LARGE_CONTENTS: Final = 1 << 18  # typed contents of protobuf, and strings in any form
LARGE_RAW: Final = 1 << 22  # numbers in raw form, which are at most copied

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Turns:
    """Work of clients on threads, at most `most` pieces of it at a time; the rest waits, in the order in which it came.

    Without it, a client that sends a thousand large bodies would have as many threads, each with several times its body in memory.
    A piece has its turn until it is done, also if its caller left. Must be made on a running event loop, or before it.
    """

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)

    async def run(self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Wait for a turn, then do as `offload` does."""
        await self._free.acquire()
        return await _started(partial(function, *args, **kwargs), self._free.release)


async def offload(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call the function on a daemon thread and return or raise what it does. If the caller is cancelled, its result is dropped.

    asyncio.to_thread would do, but its threads are waited for at the end: a graph that loads for minutes would hold up a restart.
    """
    return await _started(partial(function, *args, **kwargs), lambda: None)


def _started(function: Callable[[], Result], ended: Callable[[], object]) -> asyncio.Future[Result]:
    """Start a function on a thread; `ended` is called once it has returned or raised, whether or not anybody still waits."""
    loop = asyncio.get_running_loop()
    context = copy_context()  # a log line of the function still knows which call it is for
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        ended()
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only if Result is

    def work() -> None:
        result, error = None, None
        try:
            result = context.run(function)
        except BaseException as raised:  # noqa: BLE001 -- handed to the caller
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    try:
        threading.Thread(target=work, name=f"{THREAD_PREFIX}offload", daemon=True).start()
    except BaseException:  # the system has no more threads
        ended()
        raise
    return future
