"""Reading Protocol Buffers by field numbers, without the message types: what is not asked for is skipped, not read.

https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5
_LONGEST_VARINT: Final = 10


def fields(data: memoryview) -> Iterator[tuple[int, int, memoryview | int]]:
    """Yield number, wire type and value of each field of a message: a view of bytes, or an integer for a varint.

    Raises ValueError where the data is no message.
    """
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, position = _varint(data, position)
            yield number, kind, value
            continue
        if kind == LENGTH:
            size, position = _varint(data, position)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {position} is not known")
        if number == 0 or position + size > len(data):
            raise ValueError(f"field {number} at byte {position} does not fit into its message")
        yield number, kind, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT):
        if position + index >= len(data):
            raise ValueError("it ends in the middle of a number")
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 -- the bit that says that more bytes follow
            return value & (2**64 - 1), position + index + 1
    raise ValueError(f"the number at byte {position} does not end")
