"""The protobuf wire format as far as large tensors need it: taken out of a message and put into one without copies in between.

Rules: protobuf.dev/programming-guides/encoding. A parser would copy each tensor out of the message, and again on each access.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

Buffer = Any  # bytes, memoryview, numpy array of bytes

_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH: Final = 2
_FIXED32: Final = 5


def split(message: bytes, field: int) -> tuple[bytes, list[memoryview]]:
    """Take every value of a top-level bytes field out of a message: return the rest of it, and views of the values.

    From a point on that cannot be read the message is left as it is, for the parser to refuse.
    """
    view = memoryview(message)
    values: list[memoryview] = []
    rest: list[memoryview] = []
    kept = position = 0
    try:
        while position < len(message):
            start = position
            tag, position = _varint(message, position)
            begin, position = _value(message, position, tag & 7)
            if position > len(message):
                break
            if tag == field << 3 | _LENGTH:
                rest.append(view[kept:start])
                values.append(view[begin:position])
                kept = position
    except (IndexError, ValueError):
        pass
    return (b"".join([*rest, view[kept:]]) if values else message), values


def joined(message: bytes, field: int, values: Iterable[Buffer]) -> list[Buffer]:
    """Return the pieces of a message with values added to a bytes field. Values must be one-dimensional bytes."""
    pieces: list[Buffer] = [message]
    for value in values:
        pieces += (header(field, len(value)), value)
    return pieces


def embedded(field: int, pieces: Sequence[Buffer]) -> list[Buffer]:
    """Return the pieces of a message whose only field is the message that `pieces` make up."""
    return [header(field, sum(len(piece) for piece in pieces)), *pieces]


def header(field: int, size: int) -> bytes:
    """Return what stands before a value of `size` bytes."""
    return _encoded(field << 3 | _LENGTH) + _encoded(size)


def _value(message: bytes, position: int, kind: int) -> tuple[int, int]:
    """Return where the value at a position begins and where it ends."""
    if kind == _LENGTH:
        size, position = _varint(message, position)
        return position, position + size
    if kind == _VARINT:
        return position, _varint(message, position)[1]
    if kind in (_FIXED32, _FIXED64):
        return position, position + (8 if kind == _FIXED64 else 4)
    raise ValueError("a group, which no message of the protocol has")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while shift < 64:  # noqa: PLR2004 -- bits of the largest number
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 -- the last byte has no continuation bit
            return number, position
        shift += 7
    raise ValueError("a number of more than 64 bits")


def _encoded(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 -- what one byte can hold
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
