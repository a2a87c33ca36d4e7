"""One request and its response, between a connection and the application: uvicorn's, with less to do for each.

A body is put together once, when all of it is there; a response begins with its head and first bytes in one write, as ASGI wants
it; and who asks to be told that the client has left is called, so that no task has to wait for it.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent, HTTPRequestEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service.request_context import CLIENT_LEFT

_CHUNK: Final = 1 << 18  # bytes of a body that the application gets at once while more is coming
_MOST_BUFFERED: Final = 1 << 16  # bytes of a body that wait for the application
_JOINED: Final = 1 << 16  # bytes up to which one copy costs less than one more call of the system
_NO_BODY: Final = frozenset({204, 304})
_NO_NAME: Final = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_NO_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Signal:
    """An event for one waiter at a time, which costs next to nothing while nobody waits."""

    __slots__ = ("_loop", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None

    @property
    def awaited(self) -> bool:
        """Whether somebody waits."""
        return self._waiter is not None

    def set(self) -> None:
        """Wake the waiter, if there is one."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until it is set the next time."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Exchange(RequestResponseCycle):
    """A request that is coming, and the response that goes back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **facts: Any) -> None:  # noqa: ANN401 -- what uvicorn's class takes
        self._arrived = Signal(loop)
        super().__init__(message_event=cast("asyncio.Event", self._arrived), **facts)
        self._loop = loop
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._given = False
        self._head = b""
        self._on_leave: Callable[[], None] | None = None
        self.scope["extensions"] = {CLIENT_LEFT: self.call_when_left}  # type: ignore[dict-item]  # a function

    def body_came(self, data: bytes) -> None:
        """Keep a piece of the body until the application asks for it; let the client wait if it does not."""
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered >= _CHUNK:
            self._arrived.set()
        if self._buffered > _MOST_BUFFERED and not self._arrived.awaited:
            self.flow.pause_reading()

    def body_ended(self) -> None:
        """Note that the body is complete."""
        self.more_body = False
        self._arrived.set()

    def left(self) -> None:
        """Note that the client has left."""
        self.disconnected = True
        self._arrived.set()
        if self._on_leave is not None:
            self._on_leave()

    def call_when_left(self, function: Callable[[], None] | None) -> None:
        """Have a function called if the client leaves before it has its answer; None takes it back."""
        self._on_leave = function
        if function is not None and self.disconnected:
            self._loop.call_soon(function)

    async def receive(self) -> ASGIReceiveEvent:
        """Give the body, in large pieces if it does not come at once; then wait until there is no more to wait for."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(_CONTINUE)
            self.waiting_for_100_continue = False
        while not self._has_news():
            self.flow.resume_reading()
            await self._arrived.wait()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks, self._buffered = [], 0
        self._given = not self.more_body
        event: HTTPRequestEvent = {"type": "http.request", "body": body, "more_body": self.more_body}
        return event

    async def send(self, message: ASGISendEvent) -> None:
        """Take the response: its start, then its body, in one piece or several."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            self._begin(message["status"], list(message.get("headers", [])))  # type: ignore[call-overload,typeddict-item]
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            self._proceed(message.get("body", b""), more=bool(message.get("more_body", False)))  # type: ignore[arg-type]
        else:
            raise RuntimeError(f"Unexpected ASGI message '{kind}'.")

    def _has_news(self) -> bool:
        if self.disconnected or self.response_complete:
            return True
        return not self._given and (not self.more_body or self._buffered >= _CHUNK)

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Put the head together; it is sent with the first piece of the body."""
        self.response_started = True
        self.waiting_for_100_continue = False
        headers = self.default_headers + headers
        if _NO_NAME.search(b"".join([name for name, _ in headers])) or _NO_VALUE.search(b"".join([value for _, value in headers])):
            raise RuntimeError("A response header has a character that it must not have.")
        lines = [STATUS_LINE[status]]
        for name, value in headers:
            if self._keeps(name.lower(), value):
                lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _NO_BODY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def _keeps(self, name: bytes, value: bytes) -> bool:
        """Note what a header of the response says about the response, and whether it is to be sent: on closing, ours is."""
        if name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.expected_content_length = 0
            self.chunked_encoding = True
        elif name == b"connection" and value.lower() == b"close":
            self.keep_alive = False
            return False
        return True

    def _proceed(self, body: bytes | memoryview, *, more: bool) -> None:
        """Send a piece of the body, with the head before the first one."""
        if self.scope["method"] == "HEAD":
            body, self.expected_content_length = b"", 0
        elif self.chunked_encoding:
            body = (b"".join((b"%x\r\n" % len(body), body, b"\r\n")) if body else b"") + (b"" if more else b"0\r\n\r\n")
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("The response is not as long as its Content-Length.")
        self._write(body)
        if not more:
            self.response_complete = True
            self._arrived.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _write(self, body: bytes | memoryview) -> None:
        head, self._head = self._head, b""
        if not head or not body:
            self.transport.write(head or body)
        elif len(body) <= _JOINED:
            self.transport.write(b"".join((head, body)))
        else:
            self.transport.writelines((head, body))
