"""Content codings of HTTP bodies, gzip and deflate: RFC 9110 8.4.1."""

import zlib
from collections.abc import Iterable
from typing import Final

from service.errors import MalformedBody, PayloadTooLarge

CODINGS: Final = ("gzip", "deflate")

_GZIP: Final = 16 + zlib.MAX_WBITS
_LEVEL: Final = 1  # tensors gain little from more, and it takes several times as long
_HEADER_SIZE: Final = 2
_DIGITS: Final = "0123456789."


def decompress(data: bytes | bytearray, coding: str, *, limit: int) -> bytes:
    """Undo a coding. Raises PayloadTooLarge once there are more than `limit` bytes, MalformedBody if it is not what it says."""
    decoder = zlib.decompressobj(_GZIP if coding == "gzip" else _deflate_bits(data))
    try:
        plain = decoder.decompress(data, limit + 1)
    except zlib.error as error:
        raise MalformedBody(f"The body is not in Content-Encoding {coding}, as its header says: {error}.") from None
    if len(plain) > limit:
        raise PayloadTooLarge(limit)
    if not decoder.eof:
        raise MalformedBody(f"The body in Content-Encoding {coding} ends too early.")
    if decoder.unused_data:
        raise MalformedBody(f"The body in Content-Encoding {coding} is followed by {len(decoder.unused_data)} bytes.")
    return plain


def compress(parts: Iterable[bytes | memoryview], coding: str) -> bytes:
    """Apply a coding to a body in parts."""
    encoder = zlib.compressobj(_LEVEL, wbits=_GZIP if coding == "gzip" else zlib.MAX_WBITS)
    return b"".join([*(encoder.compress(part) for part in parts), encoder.flush()])


def accepted_coding(accept_encoding: str) -> str | None:
    """Return the coding that a client likes best of those that are there; None if it wants none of them."""
    wishes = dict(map(_wish, accept_encoding.split(",")))
    best = max(CODINGS, key=lambda coding: wishes.get(coding, 0.0))
    return best if wishes.get(best, 0.0) > 0 else None


def _wish(text: str) -> tuple[str, float]:
    """Return a coding and its weight. Split, not matched: a pattern can take minutes over a header that was made for it."""
    name, _, parameter = text.partition(";")
    key, _, weight = parameter.partition("=")
    if not parameter.strip():
        return name.strip().lower(), 1.0
    return name.strip().lower(), _weight(weight.strip()) if key.strip().lower() == "q" else 0.0


def _weight(text: str) -> float:
    """Return the number that a weight is; 0 for anything else, that too which only Python takes for a number."""
    try:
        return float(text) if text.strip(_DIGITS) == "" else 0.0
    except ValueError:
        return 0.0


def _deflate_bits(data: bytes | bytearray) -> int:
    """Tell whether deflated data has the zlib header that RFC 9110 wants and that some clients leave out."""
    has_header = len(data) >= _HEADER_SIZE and data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
