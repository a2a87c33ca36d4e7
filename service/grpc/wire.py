"""The protobuf wire format as far as large tensors need it: taken out of a message and put into one without copies in between.

Rules: protobuf.dev/programming-guides/encoding. A parser would copy each tensor out of the message, and again on each access.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from service.errors import MalformedBody

Buffer = Any  # bytes, memoryview, numpy array of bytes

_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH: Final = 2
_FIXED32: Final = 5
_MOST_FIELDS: Final = 1 << 15
_LEAST_BYTES: Final = 2  # of a field


class Walk:
    """Steps from field to field of a message, and of messages in it, as long as there are not too many in all."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._left = _MOST_FIELDS

    def fields(self, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield of each field between two positions its tag, where it starts, and where its value begins and ends."""
        while position < end:
            start = position
            try:
                tag, position = _varint(self._message, position)
                begin, position = _value(self._message, position, tag & 7)
            except (IndexError, ValueError):
                position = end + 1
            if position > end:
                self._count((end - start) // _LEAST_BYTES)  # what cannot be read here may be many fields to the parser
                return
            self._count(1)
            yield tag, start, begin, position

    def _count(self, fields: int) -> None:
        self._left -= fields
        if self._left < 0:
            raise MalformedBody(f"The message has more than {_MOST_FIELDS} fields. Send fewer tensors and parameters.")


def split(
    message: bytes, field: int, *, look: Callable[[Walk, int, int, int], None] | None = None
) -> tuple[bytes, list[memoryview]]:
    """Take every value of a top-level bytes field out of a message: return the rest of it, and views of the values.

    From a point on that cannot be read the message is left as it is, for the parser to refuse. `look` is called with the walk, the
    number, and where the value begins and ends, of each other field that has a length. Raises MalformedBody if there are more
    fields than any request has: to parse them would take seconds.
    """
    view = memoryview(message)
    walk = Walk(message)
    values: list[memoryview] = []
    rest: list[memoryview] = []
    kept = 0
    for tag, start, begin, end in walk.fields(0, len(message)):
        if tag == field << 3 | _LENGTH:
            rest.append(view[kept:start])
            values.append(view[begin:end])
            kept = end
        elif tag & 7 == _LENGTH and look is not None:
            look(walk, tag >> 3, begin, end)
    return (b"".join([*rest, view[kept:]]) if values else message), values


def refuse_many_fields(message: bytes) -> None:
    """Raise MalformedBody if a message has more fields than any call has."""
    for _ in Walk(message).fields(0, len(message)):
        pass


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
