"""Who does not read is told from who reads all day, at moments that the tests choose."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import uvloop

from service.http.connections import Connections, Limits
from service.http.exchange import Exchange
from service.http.protocol import HttpProtocol

PATIENCE = 30.0
LIMIT = 3  # connections
SMALL = 30_000  # bytes of an answer that is over when the system has not taken all of it
LARGE = 32 << 20  # bytes of an answer that the buffers of a system do not hold


async def answer(exchange: Exchange) -> None:
    await exchange.respond(200, [], [bytes(int(exchange.path[1:]))])


class Side:
    """A server, of which the tests see the connections as well."""

    def __init__(self) -> None:
        limits = Limits(
            header_timeout=99, body_timeout=99, write_timeout=PATIENCE, keep_alive_timeout=99, max_connections=LIMIT, max_arriving=1
        )
        process: Any = SimpleNamespace(is_stopping=False)
        self.connections = Connections(limits, process, Mock())
        self.serving: Any = SimpleNamespace(connections=set(), tasks=set())
        self.made: list[HttpProtocol] = []
        self.address: tuple[str, int] = ("", 0)

    def protocol(self) -> HttpProtocol:
        """Make the server's end of a connection."""
        self.made.append(HttpProtocol(answer, self.connections, self.serving, asyncio.get_running_loop()))
        return self.made[-1]

    async def connect(self) -> tuple[socket.socket, HttpProtocol]:
        """Return both ends of a new connection. Little of what is not read fits into it."""
        before = len(self.made)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, self.address)
        await until(lambda: len(self.made) > before and self.made[-1] in self.serving.connections)
        return client, self.made[-1]


@asynccontextmanager
async def serving() -> AsyncIterator[Side]:
    side = Side()
    server = await asyncio.get_running_loop().create_server(side.protocol, "127.0.0.1", 0)
    side.address = server.sockets[0].getsockname()
    try:
        yield side
    finally:
        server.close()
        for connection in list(side.serving.connections):
            connection.transport.abort()
        await until(lambda: not side.serving.connections)


async def until(happened: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if happened():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it did not happen")


async def ask(client: socket.socket, size: int) -> None:
    await asyncio.get_running_loop().sock_sendall(client, b"GET /%d HTTP/1.1\r\n\r\n" % size)


async def read(client: socket.socket, size: int) -> None:
    """Read an answer whose body has this size."""
    received = bytearray()
    while (end := received.find(b"\r\n\r\n")) < 0 or len(received) < end + 4 + size:
        piece = await asyncio.get_running_loop().sock_recv(client, 1 << 20)
        assert piece, "the connection was ended"
        received += piece


def unsent(connection: HttpProtocol) -> int:
    return connection.transport.get_write_buffer_size()


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    chosen: Callable[[Coroutine[Any, Any, None]], None] = request.param
    return chosen


def test_client_that_takes_one_large_answer_after_another_keeps_its_connection(
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    """As much may be unsent as was long ago: it is of another answer."""

    async def check() -> None:
        async with serving() as side:
            client, connection = await side.connect()
            now = asyncio.get_running_loop().time()
            with client:
                for _ in range(3):
                    await ask(client, LARGE)
                    await until(lambda: unsent(connection) > 0)
                    side.connections.look_after(now)
                    await read(client, LARGE)
                    now += PATIENCE * 1.1

                assert connection in side.serving.connections

    run(check())


def test_client_that_takes_nothing_of_an_answer_is_let_go(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    async def check() -> None:
        async with serving() as side:
            client, connection = await side.connect()
            now = asyncio.get_running_loop().time()
            with client:
                await ask(client, LARGE)
                await until(lambda: unsent(connection) > 0)
                for later in (0, PATIENCE * 0.9, PATIENCE * 1.1):
                    assert connection in side.serving.connections
                    side.connections.look_after(now + later)

                await until(lambda: connection not in side.serving.connections)

    run(check())


def test_client_that_takes_nothing_counts_until_it_is_let_go(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """A connection that makes room while its client has something to take would be open for ever, and seen by nobody."""

    async def check() -> None:
        async with serving() as side:
            client, stuck = await side.connect()
            with ExitStack() as stack:
                stack.enter_context(client)
                while not unsent(stuck):
                    await ask(client, SMALL)
                    await asyncio.sleep(0.001)
                for _ in range(2 * LIMIT):
                    stack.enter_context((await side.connect())[0])
                now = asyncio.get_running_loop().time()
                for later in (1, 1 + PATIENCE * 1.1):
                    side.connections.look_after(now + later)

                await until(lambda: stuck not in side.serving.connections)

    run(check())


def test_client_whose_state_cannot_be_asked_for_counts_as_there(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """A socket of the file system has no state of TCP."""

    async def check() -> None:
        here, there = socket.socketpair()
        with there:
            transport, connection = await asyncio.get_running_loop().create_connection(Side().protocol, sock=here)

            assert not connection.is_reset()
            transport.abort()
            await asyncio.sleep(0)

    run(check())
