"""An exchange on a connection of our own: what came of the request, and the response as bytes.

A response begins with its head and first bytes in one write, and has that
head only when there is a body, as ASGI wants it.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

from service.http.exchange import Exchange, Handler, Headers
from service.http.incoming import IncomingBody
from service.http.receiving import Filling, Receiving

logger = logging.getLogger("axon.http")

_JOINED: Final = 1 << 16  # bytes up to which one copy costs less than one more call of the system
_NO_BODY: Final = frozenset({204, 304})
_NO_NAME: Final = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_NO_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES: Final = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_JSON_SIZE: Final = b"inference-header-content-length"  # where tensors in binary form begin, which are used where they are
_BUG: Final = b'{"error":"The server made a mistake while it handled this request.","code":"internal"}'


class Connection(Protocol):
    """What an exchange needs of the connection that it is on."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    write_paused: bool

    @property
    def date_line(self) -> bytes:
        """The header that says what time it is."""

    @property
    def facts(self) -> dict[str, Any]:
        """What the scopes of all requests have in common."""

    @property
    def port(self) -> int | None:
        """The port that it was made to."""

    def pause_reading(self) -> None:
        """Let the client wait."""

    def resume_reading(self) -> None:
        """Let it go on."""

    async def drain(self) -> None:
        """Wait until the client has taken most of what was sent."""

    def answered(self) -> None:
        """Be told that the response is complete."""

    def ended(self, exchange: "WireExchange") -> None:
        """Be told that nobody works on it any more."""


class WireExchange(Exchange):
    """A request that is coming, and the response that goes back."""

    __slots__ = (
        "_body",
        "_cancels",
        "_chunked",
        "_connection",
        "_head",
        "_left_to_send",
        "_was_left",
        "complete",
        "disconnected",
        "expects_continue",
        "keep_alive",
        "started",
        "task",
        "version",
    )

    def __init__(
        self,
        connection: Connection,
        method: str,
        parts: tuple[str, bytes, bytes],
        headers: Headers,
        *,
        version: str,
        keep_alive: bool,
    ) -> None:
        super().__init__(method, *parts, headers)
        self._connection = connection
        self.version = version
        self.keep_alive = keep_alive
        self.expects_continue = (
            b"expect" in self._by_name and version != "1.0" and self._by_name[b"expect"].lower() == b"100-continue"
        )
        self.disconnected = False
        self._body = IncomingBody(connection.loop)
        self.started = False  # of the response
        self.complete = False
        self._head = b""
        self._chunked: bool | None = None
        self._left_to_send = 0
        self.task: asyncio.Task[None] | None = None
        self._cancels = False
        self._was_left = False

    async def run(self, handler: Handler) -> None:
        """Have it answered. Never raises: what a handler leaves undone ends in an error, or the end of the connection."""
        try:
            await handler(self)
        except asyncio.CancelledError:  # the server's time for finishing is over
            logger.warning("%s %s was cut off by the end of the server", self.method, self.path)
        except BaseException:
            logger.exception("%s %s failed", self.method, self.path)
        finally:
            if not self.complete and not self.disconnected:
                if not self.started:
                    self.keep_alive = False
                    await self.respond(HTTPStatus.INTERNAL_SERVER_ERROR, [(b"content-type", b"application/json")], [_BUG])
                self._connection.transport.close()
            self._connection.ended(self)

    def body_came(self, data: bytes) -> None:
        """Keep a piece of the body until the application asks for it; let the client wait if it does not."""
        if self._body.came(data):
            self._connection.pause_reading()

    def fill(self, receiving: Receiving) -> Filling | None:
        """Have the rest of the body received in its own place, if that is better; one that waits to be asked for may never come."""
        length = self.header(b"content-length")
        if length is None or self.expects_continue:
            return None
        json_size = self.header(_JSON_SIZE)
        return self._body.fill(receiving, int(length), int(json_size[:9]) if json_size and json_size.isdecimal() else 0)

    def hand_on(self) -> None:
        """Let the application have what has come of the body, which then counts as in memory: more may be long in coming."""
        self._body.hand_on()

    def body_ended(self) -> None:
        """Note that the body is complete."""
        self._body.ended()

    def left(self) -> None:
        """Note that the client has left."""
        self.disconnected = True
        self._body.notify()
        if self._cancels and self.task is not None:
            self._was_left = True
            self.task.cancel()

    def cancel_if_left(self, *, wanted: bool) -> None:
        """Have the task of this exchange cancelled if the client leaves, or no longer; one that has left already counts."""
        self._cancels = wanted
        if wanted and self.disconnected:
            self.left()

    def was_left(self) -> bool:
        """Whether it was cancelled for this reason, and for no other."""
        return self._was_left and self.task is not None and self.task.uncancel() == 0

    @property
    def port(self) -> int | None:
        """The port that the connection was made to."""
        return self._connection.port

    @property
    def scope(self) -> dict[str, Any]:
        """The request as ASGI has it."""
        return self._connection.facts | {
            "type": "http",
            "http_version": self.version,
            "method": self.action,
            "path": self.path,
            "raw_path": self.raw_path,
            "query_string": self.query,
            "headers": self.headers,
            "state": {},
            "extensions": {},
        }

    def whole_body(self) -> bytes | bytearray | None:
        """Give the body if all of it is here."""
        return None if self.disconnected else self._body.whole()

    async def receive(self) -> Any:  # noqa: ANN401 -- as in the base
        """Give the body, in large pieces if it does not come at once; then wait until there is no more to wait for."""
        if self.expects_continue and not self._connection.transport.is_closing():
            self._connection.transport.write(_CONTINUE)
            self.expects_continue = False
        body = self._body
        while not (self.disconnected or self.complete or body.is_due):
            self._connection.resume_reading()
            await body.news()
        if self.disconnected or self.complete:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body.take(), "more_body": body.more}

    async def send(self, message: Any) -> None:  # noqa: ANN401 -- as in `receive`
        """Take the response: its start, then its body, in one piece or several."""
        if self._connection.write_paused and not self.disconnected:
            await self._connection.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.started:
            self._begin(message["status"], [*message.get("headers", ()), *self.added])
        elif kind == "http.response.body" and self.started and not self.complete:
            self._proceed(message.get("body", b""), more=bool(message.get("more_body", False)))
        else:
            raise RuntimeError(f"Unexpected ASGI message '{kind}'.")

    async def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], parts: Sequence[bytes | memoryview]) -> None:
        """Send a whole response, unless there is one already. It is over when the client has taken most of it."""
        if self.started:
            return
        connection = self._connection
        if connection.write_paused and not self.disconnected:
            await connection.drain()
        if self.disconnected:
            return
        size = sum(map(len, parts))
        head = [_STATUS_LINES[status], connection.date_line]
        if status not in _NO_BODY:
            head.append(b"content-length: %d\r\n" % size)
        for name, value in (*headers, *self.added):
            head += (name, b": ", value, b"\r\n")
        head.append(b"\r\n" if self.keep_alive and not self.expects_continue else self._end_of_head())
        self.status, self.size, self.started = status, size, True
        if self.method == "HEAD":
            connection.transport.write(b"".join(head))
        elif size <= _JOINED:
            connection.transport.write(b"".join([*head, *parts]))
        else:
            connection.transport.writelines([b"".join(head), *parts])
        if connection.write_paused:
            await connection.drain()
        if not self.disconnected:
            self._completed()

    def _begin(self, status: int, headers: Headers) -> None:
        """Put the head together; it is sent with the first piece of the body."""
        self.started, self.status = True, status
        if _NO_NAME.search(b"".join([name for name, _ in headers])) or _NO_VALUE.search(b"".join([value for _, value in headers])):
            raise RuntimeError("A response header has a character that it must not have.")
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, self._connection.date_line]
        for name, value in headers:
            if self._keeps(name.lower(), value):
                lines += (name, b": ", value, b"\r\n")
        if self._chunked is None and self.method != "HEAD" and status not in _NO_BODY:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(self._end_of_head())
        self._head = b"".join(lines)

    def _end_of_head(self) -> bytes:
        """Return the last lines of a head. A body that still waits to be asked for may never come: no request can follow it."""
        if self.expects_continue and self._body.is_still_to_come:
            self.keep_alive = False
        self.expects_continue = False
        return b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"

    def _keeps(self, name: bytes, value: bytes) -> bool:
        """Note what a header of the response says about the response, and whether it is to be sent: on closing, ours is."""
        if name == b"content-length" and self._chunked is None:
            self._left_to_send = int(value)
            self._chunked = False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self._left_to_send = 0
            self._chunked = True
        elif name == b"connection" and value.lower() == b"close":
            self.keep_alive = False
            return False
        return True

    def _proceed(self, body: bytes | memoryview, *, more: bool) -> None:
        """Send a piece of the body, with the head before the first one."""
        self.size += len(body)
        if self.method == "HEAD":
            body, self._left_to_send = b"", 0
        elif self._chunked:
            body = (b"".join((b"%x\r\n" % len(body), body, b"\r\n")) if body else b"") + (b"" if more else b"0\r\n\r\n")
        else:
            self._left_to_send -= len(body)
            if self._left_to_send < 0 or (self._left_to_send and not more):
                raise RuntimeError("The response is not as long as its Content-Length.")
        self._write(body)
        if not more:
            self._completed()

    def _write(self, body: bytes | memoryview) -> None:
        head, self._head = self._head, b""
        transport = self._connection.transport
        if not head or not body:
            transport.write(head or body)
        elif len(body) <= _JOINED:
            transport.write(b"".join((head, body)))
        else:
            transport.writelines((head, body))

    def _completed(self) -> None:
        self.complete = True
        self._body.drop()  # what nobody asked for would stay until the next request
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.answered()
