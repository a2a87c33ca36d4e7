"""Bodies arrive as they were sent, whatever their size, in whatever pieces, and whatever stands before and behind them."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import Callable, Coroutine
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from service.http.connections import Connections, Limits
from service.http.exchange import Exchange
from service.http.protocol import HttpProtocol
from service.http.receiving import Receiving

SIZES = st.one_of(
    st.sampled_from([0, 1, (1 << 14) - 1, 1 << 14, 1 << 15, (1 << 15) + 1, 1 << 18, 1 << 20, (1 << 20) + 1]),
    st.integers(0, 300_000),
)
HEADERS = {
    "plain": b"",
    "upgrade": b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "binary": b"Inference-Header-Content-Length: 123\r\n",
    "nonsense": b"Inference-Header-Content-Length: 99999999999999999999\r\n",
}


def content(size: int, seed: int) -> bytes:
    """Make a body, which may look like heads and their ends."""
    return (b"%d\r\n\r\nGET / HTTP/1.1\r\n\r\n" % seed * (size // 20 + 1))[:size]


def request(size: int, kind: str, seed: int) -> bytes:
    body = content(size, seed)
    if kind == "chunked":
        halves = [part for part in (body[: size // 2], body[size // 2 :]) if part]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in halves)
        return b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    path = b"/refused" if kind == "refused" else b"/"
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (path, HEADERS.get(kind, b""), size, body)


async def answer(exchange: Exchange) -> None:
    """Say which body came; or say at once that it is not wanted."""
    if exchange.path == "/refused":
        await exchange.respond(404, [], [b"no"])
        return
    body = exchange.whole_body()
    parts = [] if body is None else [body]
    more = body is None
    while more:
        message = await exchange.receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    await exchange.respond(200, [], [hashlib.sha256(b"".join(parts)).hexdigest().encode()])


def group() -> Connections:
    limits = Limits(
        header_timeout=30, body_timeout=30, write_timeout=30, keep_alive_timeout=30, max_connections=9, max_arriving=4 << 20
    )
    process: Any = SimpleNamespace(is_stopping=False)
    return Connections(limits, process, Mock())


async def exchanged(sent: list[bytes], connections: Connections) -> list[bytes]:
    """Send pieces over a connection that is closed at the end; return the bodies of what comes back."""
    loop = asyncio.get_running_loop()
    serving: Any = SimpleNamespace(connections=set(), tasks=set())
    server = await loop.create_server(lambda: HttpProtocol(answer, connections, serving, loop), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    received = asyncio.ensure_future(reader.read())
    for piece in sent:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    answers = (await asyncio.wait_for(received, 30)).split(b"HTTP/1.1 ")[1:]
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    await gone(serving)
    return [part.partition(b"\r\n\r\n")[2] for part in answers]


async def gone(serving: Any) -> None:
    """Wait until the server has no connection."""
    for _ in range(10_000):
        if not serving.connections:
            return
        await asyncio.sleep(0.001)
    pytest.fail("a connection is left")


async def idle(serving: Any) -> None:
    """Wait until all that was sent has come."""
    for _ in range(10_000):
        if all(connection.idle_since is not None for connection in serving.connections):
            return
        await asyncio.sleep(0.001)
    pytest.fail("a connection is not idle")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@settings(max_examples=200)
@given(
    requests=st.lists(st.tuples(SIZES, st.sampled_from([*HEADERS, "chunked", "refused"])), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 1_200_000), max_size=6),
)
def test_every_body_comes_whole(
    run: Callable[[Coroutine[Any, Any, list[bytes]]], list[bytes]], requests: list[tuple[int, str]], cuts: list[int]
) -> None:
    connections = group()
    last = b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    sent = b"".join(request(size, kind, seed) for seed, (size, kind) in enumerate(requests)) + last
    ends = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    pieces = [sent[start:end] for start, end in pairwise(ends)]

    answers = run(exchanged(pieces, connections))

    wanted = [
        b"no" if kind == "refused" else hashlib.sha256(content(size, seed)).hexdigest().encode()
        for seed, (size, kind) in enumerate(requests)
    ]
    assert answers == [*wanted, hashlib.sha256().hexdigest().encode()]
    assert connections.receiving.fill(1 << 20, [], 0) is not None


def test_client_that_leaves_in_the_middle_leaves_no_room_taken() -> None:
    connections = group()

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        serving: Any = SimpleNamespace(connections=set(), tasks=set())
        server = await loop.create_server(lambda: HttpProtocol(answer, connections, serving, loop), "127.0.0.1", 0)
        for _ in range(20):  # 20 MB in all
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(request(1 << 20, "plain", 1)[:200_000])
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.close()
            await gone(serving)
        server.close()

    uvloop.run(leave())

    assert sum(connections.receiving.fill(1 << 20, [], 0) is not None for _ in range(100)) == 4


@pytest.mark.parametrize("size", [1 << 15, 1 << 20])
@pytest.mark.parametrize("begin", [0, 1 << 13], ids=["answered with its head", "answered with a part of it"])
def test_body_that_nobody_wanted_does_not_stay_with_its_connection(size: int, begin: int) -> None:
    async def kept() -> int:
        loop = asyncio.get_running_loop()
        serving: Any = SimpleNamespace(connections=set(), tasks=set())
        connections = group()
        server = await loop.create_server(lambda: HttpProtocol(answer, connections, serving, loop), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        whole = request(size, "refused", 1)
        head = len(whole) - size
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        writer.write(whole[: head + begin])
        await reader.readuntil(b"\r\n\r\nno")
        writer.write(whole[head + begin :])
        await writer.drain()
        await idle(serving)
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        writer.close()
        await gone(serving)
        server.close()
        return after - before

    assert uvloop.run(kept()) < 1 << 14


@pytest.mark.parametrize("aligned", [0, 1, 123, 160, 10**9])
def test_numbers_behind_the_json_lie_where_numbers_may(aligned: int) -> None:
    filling = Receiving(4 << 20).fill(1 << 16, [b"ab", b"c"], aligned)

    assert filling is not None
    assert bytes(filling.body[:3]) == b"abc"
    assert len(filling.body) == 1 << 16
    behind = np.frombuffer(filling.body, np.uint8)
    assert (behind.ctypes.data + aligned) % 16 == 0


def test_bodies_beyond_what_is_let_in_unasked_come_in_pieces() -> None:
    receiving = Receiving(4 << 20)
    fillings = [receiving.fill(1 << 20, [], 0) for _ in range(4)]

    assert receiving.fill(1 << 14, [], 0) is None
    assert fillings[0] is not None
    fillings[0].end()
    assert receiving.fill(1 << 20, [], 0) is not None


def test_head_that_has_not_ended_has_no_end() -> None:
    receiving = Receiving(4 << 20)
    receiving.piece[:20] = b"GET / HTTP/1.1\r\na: b"
    size = len(receiving.first)

    assert receiving.end_of_head(size) == 0
    receiving.piece[20:24] = b"\r\n\r\n"
    assert receiving.end_of_head(size) == 24
    assert receiving.end_of_head(size - 1) == 0
