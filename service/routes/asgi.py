"""The few ASGI moves that the request path makes by itself: read a body, notice that the client has left, respond."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from litestar.types import Receive, Scope, Send

from service.errors import MalformedBody, PayloadTooLarge, ShuttingDown

JSON_TYPE = b"application/json"


def header(scope: Scope, name: bytes) -> str | None:
    """Return the value of a request header (`name` in lower case), or None."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """Read the whole body. Raises PayloadTooLarge as soon as it is known to exceed `limit` bytes."""
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdecimal() and int(declared[:20]) > limit:
        raise PayloadTooLarge(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise MalformedBody("The client closed the connection before the body was complete.")
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(limit)
        if not more and not chunks:
            return chunk
        chunks.append(chunk)
        if not more:
            return b"".join(chunks)


async def respond(send: Send, body: bytes, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send a JSON response with status 200."""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", JSON_TYPE), (b"content-length", str(len(body)).encode()), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


class CancelledOnDisconnect:
    """Cancels the block when the client leaves before it is done; leaving the block is then silent, as nobody listens.

    Turns the cancellation of a server that stops into ShuttingDown, which the client gets to read.

    The whole body must have been read before: what `receive` gives next is the disconnect.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is always handled in a task")
        self._task = task
        self._watcher = asyncio.create_task(self._watch())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        self._watcher.cancel()
        if not isinstance(error, asyncio.CancelledError):
            return False
        if self._gone and self._task.uncancel() == 0:
            return True
        raise ShuttingDown from None  # cancelled by the server, whose time for finishing is over

    async def _watch(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
            self._task.cancel()
