"""uvicorn's HTTP/1.1 protocol with the manners that a server on an open port needs."""

import asyncio
import json
import re
import socket
from collections import deque
from contextlib import suppress
from enum import IntEnum
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.http_connections import MIN_RATE, Connections
from service.http_exchange import Exchange
from service.request_context import made_request_id

_REMEMBERED_URL: Final = 256  # bytes up to which the parts of an address are kept for the next request
MAX_HEAD_SIZE: Final = 64 * 1024  # bytes of request line and headers
_UPGRADE: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_PROBE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_PROBED_AFTER: Final = (0.02, 0.2)  # seconds after which a half-closed connection is looked at; then with all others
_ABOUT_TO_ASK: Final = 0.5  # seconds in which a client that has connected sends its first request
_TCP_CLOSE: Final = 7  # a state of Linux, include/net/tcp_states.h


class Phase(IntEnum):
    """What a connection waits for."""

    NEW = 0  # its first request
    IDLE = 1  # its next request
    HEAD = 2  # the rest of a head
    BODY = 3  # the rest of a body
    ANSWER = 4  # the application
    REFUSED = 5  # the request that it cannot have


# The limit of a phase that ends without a word.
_LIMITED: Final = {Phase.NEW: "header_timeout", Phase.REFUSED: "header_timeout", Phase.IDLE: "keep_alive_timeout"}


class HttpProtocol(HttpToolsProtocol):
    """Bounds the head of a request and the time that a client may take, ignores an offered upgrade, answers who has half-closed."""

    def __init__(self, group: Connections, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are
        self._group = group
        self._limits = group.limits
        self._phase = Phase.NEW
        self._since = self.loop.time()
        self._head_size = 0
        self._received = 0  # bytes of the body since `_since`
        self._unsent = 0  # bytes that the client had not taken at `_unsent_since`
        self._unsent_since = 0.0
        self._half_closed = False
        self._unanswered: deque[Exchange] = deque()

    @property
    def idle_since(self) -> float | None:
        """When the last answer was given, or the connection made; None while it does something."""
        return self._since if self._phase in {Phase.NEW, Phase.IDLE} else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Join the others, if there is room."""
        super().connection_made(transport)
        if not self._group.admit(self):
            self._phase = Phase.REFUSED

    def data_received(self, data: bytes) -> None:
        """Parse what came. A head that grows beyond its bound ends the connection."""
        if self._phase is Phase.REFUSED:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The server has as many connections as it takes. Try again.")
            return
        in_body = self._phase is Phase.BODY
        self._received += len(data)
        super().data_received(data if in_body else _without_upgrade(data))
        self._head_size = self._head_size + len(data) if self._phase is Phase.HEAD else 0
        if self._head_size > MAX_HEAD_SIZE and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The request line and headers are larger than {MAX_HEAD_SIZE} bytes. Send less of them.",
            )

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio has both, uvicorn never goes on
        """Go on for a client that has sent all and only ended its side. True keeps the other side open.

        One that has left altogether looks the same until something is sent to it: then its system says that nobody is there. An
        interim answer does no harm to the one who listens: RFC 9110 15.2 has clients skip those that they did not expect.
        """
        if self._phase is not Phase.ANSWER or not self._unanswered or self.scheme == "https":
            return False
        self._half_closed = True
        self.cycle.keep_alive = False
        first = self._unanswered[0]
        if first.scope["http_version"] == "1.1" and not first.response_started:
            self.transport.write(_PROBE)
        for delay in _PROBED_AFTER:
            self.loop.call_later(delay, self._end_if_nobody_is_there)
        return True

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._phase, self._since = Phase.HEAD, self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hand the request to the application, or let it wait for those before it."""
        self._phase, self._received = Phase.BODY, 0
        version = self.parser.get_http_version()
        path, raw_path, query = _parts(self.url) if len(self.url) <= _REMEMBERED_URL else _parts.__wrapped__(self.url)
        scope = self.scope
        scope["method"], scope["http_version"] = self.parser.get_method().decode("ascii"), version
        scope["path"], scope["raw_path"], scope["query_string"] = path, raw_path, query
        exchange = Exchange(
            self.loop,
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive() and not self._group.stopping,
            on_response=self.on_response_complete,
        )
        self.cycle = exchange
        if self._unanswered:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))
        else:
            self._start_asgi_task(exchange, self.app)
        self._unanswered.append(exchange)

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        if not self.cycle.response_complete:
            self._unanswered[-1].body_came(body)

    def on_message_complete(self) -> None:
        """Note that the body is over."""
        self._phase = Phase.ANSWER
        if not self.cycle.response_complete:
            self._unanswered[-1].body_ended()

    def on_response_complete(self) -> None:
        """Note that the oldest request is answered, and go on with the next."""
        self.server_state.total_requests += 1
        self._unanswered.popleft()
        if self._phase is Phase.ANSWER and not self._unanswered:
            self._phase, self._since = Phase.IDLE, self.loop.time()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of the client that it has left, also those that were sent ahead."""
        self._group.gone(self)
        self.pipeline.clear()
        for exchange in self._unanswered:
            exchange.left()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Let a request be finished that has begun to come, or is about to; else close. uvicorn calls this when the server ends."""
        age = self.loop.time() - self._since
        if self._phase is Phase.NEW and age < _ABOUT_TO_ASK:
            self.loop.call_later(_ABOUT_TO_ASK - age, self.shutdown)
        elif self._phase is not Phase.HEAD and not self.transport.is_closing():
            super().shutdown()

    def end(self) -> None:
        """Close the connection after what is on its way to the client."""
        self.transport.close()

    def look_after(self, now: float) -> None:
        """End the connection if its client takes too long: to send a head or a body, or to take an answer."""
        if self._does_not_read(now):
            self.transport.abort()
            return
        if self.transport.is_closing():
            return
        waited = now - self._since
        if self._phase is Phase.HEAD and not self._unanswered and waited > self._limits.header_timeout:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The head took longer than {self._limits.header_timeout:g} s.")
        elif self._phase in _LIMITED and waited > getattr(self._limits, _LIMITED[self._phase]):
            self.end()
        elif self._phase is Phase.BODY:
            self._look_after_body(now)
        elif self._half_closed:
            self._end_if_nobody_is_there()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the form of all errors."""
        self._refuse(HTTPStatus.BAD_REQUEST, f"{msg} Send HTTP/1.1.")

    def _look_after_body(self, now: float) -> None:
        """Let a body take the time that it needs as long as it keeps coming."""
        if self.flow.read_paused:  # it is the server that does not read
            self._since, self._received = now, 0
        if now - self._since <= self._limits.body_timeout:
            return
        if self._received >= MIN_RATE * self._limits.body_timeout:
            self._since, self._received = now, 0
        elif self.cycle.response_started or len(self._unanswered) > 1:
            self.end()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The body stopped coming for {self._limits.body_timeout:g} s.")

    def _does_not_read(self, now: float) -> bool:
        """Whether an answer waits for a client that takes next to nothing of it."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._unsent and now - self._unsent_since <= self._limits.write_timeout:
            return False
        stuck = bool(unsent and self._unsent) and self._unsent - unsent < MIN_RATE * self._limits.write_timeout
        self._unsent, self._unsent_since = unsent, now
        return stuck

    def _end_if_nobody_is_there(self) -> None:
        if not self.transport.is_closing() and _is_reset(self.transport):
            self.transport.abort()

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer without the application, and close."""
        request_id = made_request_id()
        code = status.phrase.lower().replace(" ", "_")
        content = json.dumps({"error": message, "code": code, "request_id": request_id}).encode()
        head = [f"HTTP/1.1 {status.value} {status.phrase}", "content-type: application/json", f"content-length: {len(content)}"]
        head.append(f"x-request-id: {request_id}")
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            head.append("retry-after: 1")
        self.transport.write("\r\n".join([*head, "connection: close", "", ""]).encode() + content)
        self.transport.close()


@lru_cache(maxsize=256)
def _parts(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path, decoded and as it was sent, and the query of an address."""
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.path, parsed.query or b""


def _is_reset(transport: Any) -> bool:  # noqa: ANN401 -- the transport of uvloop or of asyncio
    """Whether the system of the client has said that nobody reads there; False where the state cannot be asked for."""
    if not hasattr(socket, "TCP_INFO"):
        return False
    with suppress(OSError), transport.get_extra_info("socket").dup() as connection:
        return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)
    return True


def _without_upgrade(data: bytes) -> bytes:
    """Rename an Upgrade header, by which the parser would take the body for another protocol.

    RFC 9110 7.8: a server may ignore an Upgrade. Some HTTP clients offer HTTP/2 by one in every request.
    """
    end = data.find(b"\r\n\r\n")  # a body may follow, and be long
    end = end if end >= 0 else len(data)
    if data.find(b"pgrade:", 0, end) < 0 and data.find(b"PGRADE:", 0, end) < 0:
        return data
    found = _UPGRADE.search(data, 0, end)
    return data if found is None else data[: found.start()] + b"\r\nx-ignored-upgrade:" + data[found.end() :]
