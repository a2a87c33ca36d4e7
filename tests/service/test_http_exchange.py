"""A request and its response between a connection and the application, on a transport that only remembers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.http.wire_exchange import WireExchange

LARGE = 1 << 17
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}


class Transport(asyncio.Transport):
    """Remembers what was written, call by call, and whether reading is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.paused = False
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Remember a write."""
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        """Remember what is written at once."""
        self.writes.append(b"".join(list_of_data))

    def pause_reading(self) -> None:
        """Stop."""
        self.paused = True

    def resume_reading(self) -> None:
        """Go on."""
        self.paused = False

    def is_closing(self) -> bool:
        """Say whether it is closed."""
        return self.closed

    def close(self) -> None:
        """Close."""
        self.closed = True


@pytest.fixture
def transport() -> Transport:
    """Make a transport without a network."""
    return Transport()


class Connection:
    """What an exchange sees of its connection."""

    date_line = b""
    port = None
    write_paused = False

    def __init__(self, transport: Transport) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport = transport
        self.facts: dict[str, Any] = {}
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    async def drain(self) -> None:
        """Go on at once."""

    def answered(self) -> None:
        """Take note."""

    def ended(self, exchange: WireExchange) -> None:
        """Take note."""


@pytest.fixture
def begun(transport: Transport) -> Callable[..., WireExchange]:
    """Return a function that begins an exchange on the running loop."""

    def begin(
        method: str = "POST", *, keep_alive: bool = True, expect_100_continue: bool = False, version: str = "1.1"
    ) -> WireExchange:
        headers = [(b"expect", b"100-continue")] if expect_100_continue else []
        address = ("/", b"/", b"")
        return WireExchange(Connection(transport), method, address, headers, version=version, keep_alive=keep_alive)

    return begin


def run(what: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await what()

    asyncio.run(bounded())


def test_body_that_comes_in_small_pieces_is_given_whole(begun: Callable[..., WireExchange]) -> None:
    async def check() -> None:
        exchange = begun()
        given = asyncio.create_task(exchange.receive())
        for piece in (b"ab", b"cd", b"ef"):
            await asyncio.sleep(0)
            exchange.body_came(piece)
        assert not given.done()
        exchange.body_ended()

        assert await given == {"type": "http.request", "body": b"abcdef", "more_body": False}

    run(check)


def test_large_body_is_given_in_pieces_as_it_comes(begun: Callable[..., WireExchange]) -> None:
    async def check() -> None:
        exchange = begun()
        given = asyncio.create_task(exchange.receive())
        for _ in range(2):
            await asyncio.sleep(0)
            exchange.body_came(b"a" * LARGE)

        assert await given == {"type": "http.request", "body": b"a" * 2 * LARGE, "more_body": True}

    run(check)


def test_what_came_is_given_when_more_is_long_in_coming(begun: Callable[..., WireExchange]) -> None:
    """After it, pieces are large again."""

    async def check() -> None:
        exchange = begun()
        given = asyncio.create_task(exchange.receive())
        await asyncio.sleep(0)
        exchange.hand_on()  # there is nothing yet
        exchange.body_came(b"ab")
        await asyncio.sleep(0)
        assert not given.done()
        exchange.hand_on()
        assert await given == {"type": "http.request", "body": b"ab", "more_body": True}

        given = asyncio.create_task(exchange.receive())
        exchange.body_came(b"cd")
        await asyncio.sleep(0)
        assert not given.done()
        exchange.body_ended()
        assert await given == {"type": "http.request", "body": b"cd", "more_body": False}

    run(check)


def test_client_waits_while_the_application_does_not_read(begun: Callable[..., WireExchange], transport: Transport) -> None:
    async def check() -> None:
        exchange = begun()
        exchange.body_came(b"a" * LARGE)
        assert transport.paused
        given = asyncio.create_task(exchange.receive())
        await asyncio.sleep(0)

        assert not transport.paused
        exchange.body_ended()
        await given

    run(check)


def test_client_of_http_1_0_is_not_asked_for_its_body(begun: Callable[..., WireExchange], transport: Transport) -> None:
    """RFC 9110 10.1.1: it knows no interim answers."""

    async def check() -> None:
        exchange = begun(expect_100_continue=True, version="1.0")
        exchange.body_ended()
        await exchange.receive()

        assert transport.writes == []

    run(check)


def test_expectation_is_answered_when_the_application_reads(begun: Callable[..., WireExchange], transport: Transport) -> None:
    async def check() -> None:
        exchange = begun(expect_100_continue=True)
        assert transport.writes == []
        exchange.body_ended()
        await exchange.receive()

        assert transport.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]

    run(check)


def test_response_leaves_in_one_write(begun: Callable[..., WireExchange], transport: Transport) -> None:
    async def check() -> None:
        exchange = begun()
        await exchange.send(START)
        assert transport.writes == []
        await exchange.send({"type": "http.response.body", "body": b"body"})

        assert transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"]
        assert exchange.complete
        assert not transport.closed

    run(check)


def test_response_of_unknown_length_is_chunked(begun: Callable[..., WireExchange], transport: Transport) -> None:
    async def check() -> None:
        exchange = begun()
        await exchange.send({"type": "http.response.start", "status": 200, "headers": []})
        await exchange.send({"type": "http.response.body", "body": b"one", "more_body": True})
        await exchange.send({"type": "http.response.body", "body": b"", "more_body": True})
        await exchange.send({"type": "http.response.body", "body": b"two"})

        head, _, body = b"".join(transport.writes).partition(b"\r\n\r\n")
        assert head == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked"
        assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"

    run(check)


def test_answer_to_head_has_no_body(begun: Callable[..., WireExchange], transport: Transport) -> None:
    async def check() -> None:
        exchange = begun("HEAD")
        await exchange.send(START)
        await exchange.send({"type": "http.response.body", "body": b"body"})

        assert transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"]

    run(check)


@pytest.mark.parametrize("headers", [[], [(b"Connection", b"close")]], ids=["by the client", "by the application too"])
def test_connection_that_ends_says_so_once(
    begun: Callable[..., WireExchange], transport: Transport, headers: list[tuple[bytes, bytes]]
) -> None:
    async def check() -> None:
        exchange = begun(keep_alive=bool(headers))
        await exchange.send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0"), *headers]})
        await exchange.send({"type": "http.response.body", "body": b""})

        assert transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"]
        assert transport.closed

    run(check)


@pytest.mark.parametrize("body", [b"bod", b"body!"], ids=["shorter", "longer"])
def test_response_that_is_not_as_long_as_it_says_is_refused(begun: Callable[..., WireExchange], body: bytes) -> None:
    async def check() -> None:
        exchange = begun()
        await exchange.send(START)
        with pytest.raises(RuntimeError, match="Content-Length"):
            await exchange.send({"type": "http.response.body", "body": body})

    run(check)


@pytest.mark.parametrize("header", [(b"x", b"a\r\nset-cookie: b"), (b"x: a\r\ny", b"b")], ids=["value", "name"])
def test_header_cannot_smuggle_in_another(begun: Callable[..., WireExchange], header: tuple[bytes, bytes]) -> None:
    async def check() -> None:
        with pytest.raises(RuntimeError, match="must not have"):
            await begun().send({"type": "http.response.start", "status": 200, "headers": [header]})

    run(check)


@pytest.mark.parametrize("status", [200, 204])
def test_whole_response_says_how_long_it_is_and_what_was_added(
    begun: Callable[..., WireExchange], transport: Transport, status: int
) -> None:
    async def check() -> None:
        exchange = begun(keep_alive=False)
        exchange.added.append((b"x-request-id", b"a"))
        await exchange.respond(status, [(b"content-type", b"text/plain")], [b"bo", memoryview(b"dy")] if status == 200 else [])

        (written,) = transport.writes
        head, _, body = written.partition(b"\r\n\r\n")
        assert head.split(b"\r\n")[1:] == [
            *([b"content-length: 4"] if status == 200 else []),
            b"content-type: text/plain",
            b"x-request-id: a",
            b"connection: close",
        ]
        assert body == (b"body" if status == 200 else b"")
        assert (exchange.status, exchange.size) == (status, len(body))
        assert transport.closed

    run(check)


def test_whole_response_is_over_when_the_client_has_taken_it(begun: Callable[..., WireExchange], transport: Transport) -> None:
    async def check() -> None:
        taken = asyncio.Event()
        exchange = begun()
        connection = exchange._connection

        def write(data: bytes | bytearray | memoryview) -> None:
            Transport.write(transport, data)
            connection.write_paused = True

        transport.write = write  # type: ignore[method-assign]
        connection.drain = taken.wait  # type: ignore[method-assign, assignment]
        responding = asyncio.create_task(exchange.respond(200, [], [b"body"]))
        await asyncio.sleep(0)
        assert (exchange.started, exchange.complete) == (True, False)
        await exchange.respond(503, [], [b"another"])
        taken.set()
        await responding

        assert exchange.complete
        assert (exchange.status, len(transport.writes)) == (200, 1)

    run(check)


def test_whole_response_to_head_has_no_body(begun: Callable[..., WireExchange], transport: Transport) -> None:
    async def check() -> None:
        await begun("HEAD").respond(200, [], [b"body"])

        assert transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"]

    run(check)


def test_body_that_is_here_is_given_at_once_and_once(begun: Callable[..., WireExchange]) -> None:
    async def check() -> None:
        exchange = begun()
        exchange.body_came(b"bo")
        assert exchange.whole_body() is None
        exchange.body_came(b"dy")
        exchange.body_ended()

        assert exchange.whole_body() == b"body"
        assert exchange.whole_body() is None

    run(check)


@pytest.mark.parametrize("before", [True, False], ids=["before it is wanted", "while it is wanted"])
def test_task_is_cancelled_if_the_client_leaves_while_that_is_wanted(begun: Callable[..., WireExchange], *, before: bool) -> None:
    async def check() -> None:
        exchange = begun()
        seen: list[bool] = []

        async def handler(_exchange: object) -> None:
            if before:
                exchange.left()
            exchange.cancel_if_left(wanted=True)
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                seen.append(exchange.was_left())

        exchange.task = asyncio.create_task(exchange.run(handler))
        await asyncio.sleep(0)
        if not before:
            exchange.left()
        await exchange.task

        assert seen == [True]
        assert await exchange.receive() == {"type": "http.disconnect"}

    run(check)


@pytest.mark.parametrize("fails", [True, False], ids=["raises", "returns"])
def test_who_gives_no_answer_gives_an_error(begun: Callable[..., WireExchange], transport: Transport, *, fails: bool) -> None:
    async def check() -> None:
        async def handler(_exchange: object) -> None:
            if fails:
                raise KeyError

        await begun().run(handler)

        assert transport.writes[0].startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert transport.closed

    run(check)
