"""HTTP/1.1 on one connection: llhttp's events become exchanges, with the manners that a server on an open port needs."""

import asyncio
from collections import deque
from enum import IntEnum
from functools import cached_property, lru_cache
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import unquote

import httptools

from service.http.connections import MIN_RATE, Connections
from service.http.exchange import Handler
from service.http.flow import Flow
from service.http.receiving import Filling
from service.http.refusal import refusal
from service.http.wire_exchange import WireExchange

_REMEMBERED_URL: Final = 256  # bytes up to which the parts of an address are kept for the next request
MAX_HEAD_SIZE: Final = 64 * 1024  # bytes of request line and headers
_PROBE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_PROBED_AFTER: Final = (0.02, 0.2)  # seconds after which a half-closed connection is looked at; then with all others
_ABOUT_TO_ASK: Final = 0.5  # seconds in which a client that has connected sends its first request
_METHODS: Final = {method.encode(): method for method in ("GET", "POST", "HEAD")}
_Headers = list[tuple[bytes, bytes]] | deque[tuple[bytes, bytes]]
# By the status that says it; connections beyond the limit are counted when they come.
_REASONS: Final = {
    HTTPStatus.BAD_REQUEST: "malformed",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "head",
    HTTPStatus.REQUEST_TIMEOUT: "slow",
}
_TRAILERS: Final = deque[tuple[bytes, bytes]](maxlen=0)  # keeps nothing: what comes behind a body is no header of the request


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


class Serving(Protocol):
    """What uvicorn's server knows of what goes on, for its end: who is connected, and what is worked on."""

    connections: set[Any]
    tasks: set[asyncio.Task[None]]


class HttpProtocol(Flow):
    """Bounds the head of a request and the time that a client may take, ignores an offered upgrade, answers who has half-closed.

    Requests of a connection are answered one after another, also those that were sent ahead.
    """

    def __init__(self, handler: Handler, group: Connections, serving: Serving, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._handler = handler
        self._group = group
        self._serving = serving
        self._limits = group.limits
        self._receiving = group.receiving
        self._parser = self._new_parser()
        self._phase = Phase.NEW
        self._since = loop.time()
        self._head_size = 0  # bytes of the head that is coming, or of the trailers
        self._received = 0  # bytes of the body since `_since`
        self._filling: Filling | None = None  # the body that is coming, if it comes into its own place
        self._half_closed = False
        self._url = b""
        self._headers: _Headers = []
        self._unanswered: deque[WireExchange] = deque()
        self._latest: WireExchange | None = None
        self._refusal: bytes | None = None  # what is still to be sent after the answers to the requests before

    @property
    def idle_since(self) -> float | None:
        """When the last answer was given, or the connection made; None while it does something or something waits to be sent."""
        idle = self._phase in {Phase.NEW, Phase.IDLE} and not self.transport.get_write_buffer_size()
        return self._since if idle else None

    @property
    def date_line(self) -> bytes:
        """The header that says what time it is."""
        return self._group.date_line

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the scopes of all requests have in common."""
        secure = self.transport.get_extra_info("sslcontext") is not None
        return {
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "server": self._address("sockname"),
            "client": self._address("peername"),
            "scheme": "https" if secure else "http",
            "root_path": "",
        }

    @property
    def port(self) -> int | None:
        """The port that the connection was made to."""
        server = self.facts["server"]
        return None if server is None else server[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the others, if there is room."""
        self.transport = transport  # type: ignore[assignment]  # of a stream
        self._serving.connections.add(self)
        if not self._group.admit(self):
            self._phase = Phase.REFUSED

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- how much there is, is not known
        """Say where the next bytes go."""
        if self._filling is not None:
            return self._filling.rest
        return self._receiving.piece if self._phase is Phase.BODY else self._receiving.first

    def buffer_updated(self, nbytes: int) -> None:
        """Go on with the bytes that came. Of a large request only the head is parsed."""
        if self._filling is not None:
            self._filled(self._filling, nbytes)
            return
        data = self._receiving.piece[:nbytes]
        if self._phase is Phase.IDLE or self._phase is Phase.NEW:
            end = self._receiving.end_of_head(nbytes)
            if end:
                self._parse(data[:end])
                data = self._behind_body(data[end:])
        if data and not self.transport.is_closing():
            self._parse(data)

    def _behind_body(self, data: memoryview) -> memoryview:
        """Put into its place what is there of the body, and return what is not of it."""
        if self._filling is None:
            return data
        size = self._filling.copy(data)
        self._filled(self._filling, size)
        return data[size:]

    def _filled(self, filling: Filling, size: int) -> None:
        """Count bytes of the body. If it is complete, go on behind it with a parser that has seen nothing of it."""
        self._received += size
        filling.came(size)
        if not filling.rest:
            filling.end()
            self._filling = None
            self._parser = self._new_parser()
            self.on_message_complete()

    def _parse(self, data: memoryview) -> None:
        """Parse what came. A head that grows beyond its bound ends the connection, and so do trailers."""
        before, latest, received = self._phase, self._latest, self._received
        if before is Phase.REFUSED:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The server has as many connections as it takes. Try again.")
            return
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST, "Invalid HTTP request received. Send HTTP/1.1.")
            return
        phase = self._phase
        if phase is Phase.BODY and self._latest is not None and self._latest is not latest:
            self._filling = self._latest.fill(self._receiving)
        if phase is not Phase.HEAD and phase is not Phase.BODY:
            self._head_size = 0
        elif latest is not self._latest or received != self._received or (before is Phase.BODY and phase is Phase.HEAD):
            self._head_size = 0  # most of it was something else
        else:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD_SIZE and not self.transport.is_closing():
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"The request line and headers are larger than {MAX_HEAD_SIZE} bytes. Send less of them.",
                )

    def eof_received(self) -> bool:
        """Go on for a client that has sent all and only ended its side. True keeps the other side open.

        One that has left altogether looks the same until something is sent to it: then its system says that nobody is there. An
        interim answer does no harm to the one who listens: RFC 9110 15.2 has clients skip those that they did not expect.
        """
        if self._phase is not Phase.ANSWER or not self._unanswered or self.facts["scheme"] == "https":
            return False
        self._half_closed = True
        self._unanswered[-1].keep_alive = False
        first = self._unanswered[0]
        if first.version == "1.1" and not first.started:
            self.transport.write(_PROBE)
        for delay in _PROBED_AFTER:
            self.loop.call_later(delay, self._end_if_nobody_is_there)
        return True

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._phase, self._since = Phase.HEAD, self.loop.time()
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """Take the address, or a part of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Have the request answered, or let it wait for those before it."""
        parser, url = self._parser, self._url
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise httptools.HttpParserError("There is no proxy here.")
            return  # the head comes once more, without the offer
        headers, self._headers = self._headers, _TRAILERS
        self._phase, self._received = Phase.BODY, 0
        version = parser.get_http_version()
        exchange = WireExchange(
            self,
            _METHODS.get(method := parser.get_method()) or method.decode("ascii"),
            _parts(url) if len(url) <= _REMEMBERED_URL else _parts.__wrapped__(url),
            headers,
            version=version,
            keep_alive=version != "1.0" and parser.should_keep_alive() and not self._group.stopping,
        )
        self._latest = exchange
        self._unanswered.append(exchange)
        if len(self._unanswered) == 1:
            self._begin(exchange)
        else:
            self.pause_reading()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        self._received += len(body)
        if self._latest is not None and not self._latest.complete:
            self._latest.body_came(body)

    def on_message_complete(self) -> None:
        """Note that the body is over."""
        if self._phase is Phase.HEAD:  # of a request that offers an upgrade
            return
        self._phase = Phase.ANSWER
        if self._latest is None or self._latest.complete:
            self._become_idle()
        else:
            self._latest.body_ended()

    def answered(self) -> None:
        """Note that the oldest request is answered, and go on with the next."""
        self._unsent = 0  # most of the answer was taken: what is unsent from now on is another's
        self._unanswered.popleft()
        if self._phase is Phase.ANSWER:
            self._become_idle()
        if self.transport.is_closing():
            return
        if self._unanswered:
            self._begin(self._unanswered[0])
        elif self._refusal is not None:
            self._send_refusal(self._refusal)
            return
        if self._refusal is None:
            self.resume_reading()

    def ended(self, exchange: WireExchange) -> None:
        """Let go of the task of an exchange."""
        if exchange.task is not None:
            self._serving.tasks.discard(exchange.task)
            exchange.task = None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- why does not matter
        """Tell every request of the client that it has left, also those that were sent ahead."""
        self._group.gone(self)
        self._serving.connections.discard(self)
        for exchange in self._unanswered:
            exchange.left()
        self._unanswered.clear()
        self._latest = None
        if self._filling is not None:
            self._filling.end()
            self._filling = None
        del self._parser  # which knows this connection: in a circle both would stay until the next full collection
        self.resume_writing()

    def shutdown(self) -> None:
        """Let a request be finished that has begun to come, or is about to; else close. uvicorn calls this when the server ends."""
        age = self.loop.time() - self._since
        if self._phase is Phase.NEW and age < _ABOUT_TO_ASK:
            self.loop.call_later(_ABOUT_TO_ASK - age, self.shutdown)
        elif self._phase is Phase.HEAD or self.transport.is_closing():
            return
        elif self._unanswered:
            self._unanswered[-1].keep_alive = False
        else:
            self.transport.close()

    def end(self) -> None:
        """Close the connection after what is on its way to the client."""
        self.transport.close()

    def look_after(self, now: float) -> None:
        """End the connection if its client takes too long: to send a head or a body, or to take an answer."""
        if self.does_not_read(now, self._limits.write_timeout):
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

    def _feed(self, data: memoryview | bytes) -> None:
        """Parse, and ignore offers to upgrade, which would have the parser take the body for another protocol.

        RFC 9110 7.8 lets a server ignore them. Some HTTP clients offer HTTP/2 by one in every request.
        """
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self._parser = self._new_parser()
            else:
                return

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # a client may send more before it reads that we close
        return parser

    def _head_without_upgrade(self) -> bytes:
        """Return the head that has just come, without its offer."""
        line = b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, self._parser.get_http_version().encode())
        headers = [b"%b: %b" % header for header in self._headers if header[0] != b"upgrade"]
        return b"\r\n".join([line, *headers, b"", b""])

    def _begin(self, exchange: WireExchange) -> None:
        exchange.task = task = self.loop.create_task(exchange.run(self._handler))
        self._serving.tasks.add(task)

    def _become_idle(self) -> None:
        if not self._unanswered:
            self._phase, self._since = Phase.IDLE, self.loop.time()

    def _address(self, name: str) -> tuple[str, int] | None:
        """Return the host and port of one side; None for a socket of the file system."""
        address = self.transport.get_extra_info(name)
        return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None

    def _look_after_body(self, now: float) -> None:
        """Let a body take the time that it needs as long as it keeps coming; what has come does not wait for the rest."""
        if self._latest is not None:
            self._latest.hand_on()
        if self.read_paused:  # it is the server that does not read
            self._since, self._received = now, 0
        if now - self._since <= self._limits.body_timeout:
            return
        if self._received >= MIN_RATE * self._limits.body_timeout:
            self._since, self._received = now, 0
        elif (self._latest is not None and self._latest.started) or len(self._unanswered) > 1:
            self.end()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The body stopped coming for {self._limits.body_timeout:g} s.")

    def _end_if_nobody_is_there(self) -> None:
        if not self.transport.is_closing() and self.is_reset():
            self.transport.abort()

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer without the application, after the requests that came before, and close."""
        guilty = self._latest if self._phase is Phase.BODY else None
        if guilty is not None and guilty.started:
            self.end()
            return
        if status in _REASONS:
            self._group.observer.turned_away(_REASONS[status])
        whole = refusal(status, message)
        if guilty is not None and len(self._unanswered) > 1:
            self._unanswered.pop()
        if self._unanswered and self._unanswered[0] is not guilty:
            self._phase, self._refusal = Phase.ANSWER, whole
            self.pause_reading()
        else:
            self._send_refusal(whole)

    def _send_refusal(self, whole: bytes) -> None:
        self.transport.write(whole)
        self.transport.close()


@lru_cache(maxsize=256)
def _parts(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path, decoded and as it was sent, and the query of an address."""
    parsed = httptools.parse_url(url)
    raw_path = parsed.path or b"/"
    path = raw_path.decode("ascii")
    return unquote(path) if "%" in path else path, raw_path, parsed.query or b""
