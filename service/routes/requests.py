"""What every protocol over HTTP asks of a request: its body, and until when its answer is of use."""

import re
from typing import Final, NamedTuple

from service.errors import ClientLeft, InvalidRequest, MethodNotAllowed, NotFound, PayloadTooLarge, UnsupportedEncoding, shown
from service.http.exchange import Exchange
from service.protocols.compression import CODINGS, decompress
from service.request_context import request_context
from service.room import Hold

MILLISECONDS: Final = r"0\.[0-9]{0,8}[1-9][0-9]{0,8}|[1-9][0-9]{0,8}(\.[0-9]{1,9})?"
_MILLISECONDS: Final = re.compile(MILLISECONDS)


class Body(NamedTuple):
    """A body as it came, and its coding if it is compressed."""

    data: bytes | bytearray
    coding: str | None
    limit: int

    def plain(self) -> bytes | bytearray:
        """Return the body, decompressed. Raises PayloadTooLarge as soon as it is known to exceed the limit, or MalformedBody."""
        return self.data if self.coding is None else decompress(self.data, self.coding, limit=self.limit)


async def read_body(exchange: Exchange, hold: Hold, *, limit: int) -> Body:
    """Read the whole body as it is: what is compressed is decompressed where it is decoded, as it takes memory from then on.

    Raises PayloadTooLarge as soon as it is known to exceed `limit` bytes; Overloaded as soon as there is no room for what has come;
    UnsupportedEncoding before it is read.
    """
    coding = exchange.header(b"content-encoding")
    coding = None if coding is None else _coding(coding)
    declared = exchange.header(b"content-length")
    if declared is not None and declared.isdecimal() and int(declared[:20]) > limit:
        raise PayloadTooLarge(limit)
    data = exchange.whole_body()
    if data is None:
        data = await _read_raw(exchange, hold, limit=limit)
    elif len(data) > limit:
        raise PayloadTooLarge(limit)
    else:
        hold.add(len(data))
    return Body(data, coding, limit)


def require(exchange: Exchange, method: str, path: str) -> None:
    """Raise MethodNotAllowed for any other method."""
    if exchange.action != method:
        raise MethodNotAllowed(exchange.method, path, method)


def nothing_at(path: str) -> NotFound:
    """Return the error of a path at which there is nothing."""
    return NotFound(f"There is nothing at {shown(path)}. See /openapi.json for what there is.")


def _coding(content_encoding: str) -> str | None:
    """Return the coding of a body; None for none."""
    coding = content_encoding.strip().lower().removeprefix("x-")  # x-gzip is gzip: RFC 9110 8.4.1.3
    if coding in ("identity", ""):
        return None
    if coding not in CODINGS:
        raise UnsupportedEncoding(content_encoding)
    return coding


async def _read_raw(exchange: Exchange, hold: Hold, *, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await exchange.receive()
        if message["type"] != "http.request":
            raise ClientLeft
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(limit)
        hold.add(len(chunk))
        if not more and not chunks:
            return chunk
        chunks.append(chunk)
        if not more:
            return b"".join(chunks)


def header_timeout(exchange: Exchange) -> float | None:
    """Return in how many seconds from its start a call is of no use any more, as `X-Request-Timeout-Ms` says; None for never.

    Raises InvalidRequest for what is no number above 0.
    """
    text = exchange.header(b"x-request-timeout-ms")
    if text is None:
        return None
    if _MILLISECONDS.fullmatch(text) is None:
        raise InvalidRequest(f"X-Request-Timeout-Ms is '{shown(text)}'; expected a number of milliseconds above 0.")
    return float(text) * 1e-3


def deadline(first: float | None, second: float | None) -> float | None:
    """Return when the shorter of two times is over that count from when the call came, in seconds of `perf_counter`.

    None stands for a time that never ends.
    """
    if first is None or (second is not None and second < first):
        first = second
    return None if first is None else request_context().started_at + first
