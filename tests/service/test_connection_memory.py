"""A connection that is over leaves nothing behind: neither what its client sent, nor itself until a collection comes round."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from service.http.connections import Connections, Limits
from service.http.exchange import Exchange
from service.http.protocol import HttpProtocol

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Have nothing collected that is in a circle."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def answered(exchange: Exchange) -> None:
    """Read a body, and answer if all of it comes."""
    message = await exchange.receive()
    if message["type"] == "http.request":
        await exchange.respond(200, [], [b"done"])


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HT", id="half a head"),
        pytest.param(REQUEST[:-1], id="half a body"),
        pytest.param(REQUEST, id="a request"),
        pytest.param(REQUEST * 3 + b"rubbish\r\n\r\n", id="requests and rubbish"),
    ],
)
def test_connection_goes_with_its_client(sent: bytes) -> None:
    async def check() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        limits = Limits(
            header_timeout=9, body_timeout=9, write_timeout=9, keep_alive_timeout=9, max_connections=9, max_arriving=1 << 20
        )
        process: Any = SimpleNamespace(is_stopping=False)
        serving: Any = SimpleNamespace(connections=set(), tasks=set())
        group = Connections(limits, process, Mock())
        alive: weakref.WeakSet[HttpProtocol] = weakref.WeakSet()
        made = []

        def protocol() -> HttpProtocol:
            connection = HttpProtocol(answered, group, serving, loop)
            alive.add(connection)
            made.append(id(connection))
            return connection

        async with await loop.create_server(protocol, "127.0.0.1", 0) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            await asyncio.sleep(0.05)
            writer.close()
            for _ in range(100):
                await asyncio.sleep(0.01)
                if not alive:
                    break
            return len(made), len(alive)

    assert asyncio.run(check()) == (1, 0)
