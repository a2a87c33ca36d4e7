"""Blocking work beside the event loop, on threads that never hold up the end of the process."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Final, ParamSpec, TypeVar

THREAD_PREFIX: Final = "axon-"

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def offload(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call the function on a daemon thread and return or raise what it does. If the caller is cancelled, its result is dropped.

    asyncio.to_thread would do, but its threads are waited for at the end: a graph that loads for minutes would hold up a restart.
    """
    loop = asyncio.get_running_loop()
    context = copy_context()  # a log line of the function still knows which call it is for
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only if Result is

    def work() -> None:
        result, error = None, None
        try:
            result = context.run(function, *args, **kwargs)
        except BaseException as raised:  # noqa: BLE001 -- handed to the caller
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name=f"{THREAD_PREFIX}offload", daemon=True).start()
    return await future
