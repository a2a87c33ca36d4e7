"""Where the bytes of connections arrive: a large body of a known length in its own place, all else where it is parsed.

A parser copies the pieces of a body, and they are copied once more to be put together. A body whose length its head says needs
neither: what is left of it is received where it stays.
"""

from collections.abc import Sequence
from typing import Final

_FIRST: Final = 1 << 15  # bytes in which most requests come whole; of a larger one, this much is copied
_PIECE: Final = 1 << 18  # bytes of a body that is parsed, at a time
_LEAST_FILLED: Final = 1 << 14  # bytes of a body from which its own place is worth what it takes
_MOST_FILLED: Final = 1 << 20  # of a larger one the application decides piece by piece whether there is room
_ALIGNMENT: Final = 16  # bytes, as much as any datatype needs
_END_OF_HEAD: Final = b"\r\n\r\n"


class Receiving:
    """The buffers of an event loop, which does one thing at a time: whoever gets one uses it before anybody else does.

    Bodies that come into their own places take up to `most` bytes together.
    """

    def __init__(self, most: int) -> None:
        self._bytes = bytearray(_PIECE)
        self.piece: Final = memoryview(self._bytes)
        self.first: Final = self.piece[:_FIRST]
        self._left = most

    def end_of_head(self, size: int) -> int:
        """Return where the first head ends in a buffer in which so many bytes have come; 0 if it does not, or little is coming."""
        if size < _FIRST:
            return 0
        start = self._bytes.find(_END_OF_HEAD, 0, size)
        return 0 if start < 0 else start + len(_END_OF_HEAD)

    def fill(self, length: int, came: Sequence[bytes | bytearray], aligned: int) -> "Filling | None":
        """Return a place for a body of so many bytes, of which these came; None if it is better to come in pieces.

        The byte number `aligned` lies where a number of any datatype may.
        """
        if not _LEAST_FILLED <= length <= _MOST_FILLED or length > self._left:
            return None
        self._left -= length
        return Filling(self, length, came, aligned)

    def ended(self, length: int) -> None:
        """Be told that a body has come, or never will."""
        self._left += length


class Filling:
    """A body that is coming: `rest` is where the rest of it goes."""

    __slots__ = ("_receiving", "body", "rest")

    def __init__(self, receiving: Receiving, length: int, came: Sequence[bytes | bytearray], aligned: int) -> None:
        offset = -aligned % _ALIGNMENT
        self._receiving = receiving
        self.body = bytearray(offset + length)
        del self.body[:offset]  # moves nothing
        self.rest = memoryview(self.body)
        for piece in came:
            self.rest[: len(piece)] = piece
            self.rest = self.rest[len(piece) :]

    def copy(self, data: memoryview) -> int:
        """Put what belongs to the body into its place; return how many bytes these are, which have yet to be counted."""
        size = min(len(data), len(self.rest))
        self.rest[:size] = data[:size]
        return size

    def came(self, size: int) -> None:
        """Note that the next bytes have been put into their place."""
        self.rest = self.rest[size:]

    def end(self) -> None:
        """Let go of the place."""
        self._receiving.ended(len(self.body))
