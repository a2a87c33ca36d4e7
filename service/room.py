"""How much of clients' data may be in memory at a time: what a thousand of them send at once is no reason to be killed."""

from typing import Final, NamedTuple, Self

from service.errors import Overloaded
from service.offload import Turns


class Room:
    """Room for `size` bytes of request bodies. Belongs to the event loop."""

    def __init__(self, size: int) -> None:
        self.size: Final = size
        self._free = size

    @property
    def held(self) -> int:
        """How many bytes are held now."""
        return self.size - self._free

    def hold(self) -> "Hold":
        """Begin to hold what one request sends."""
        return Hold(self)

    def take(self, nbytes: int) -> None:
        """Take room. A request that is alone finds room whatever its size. Raises Overloaded if there is none."""
        if nbytes > self._free and self._free < self.size:
            raise Overloaded(self.size)
        self._free -= nbytes

    def give_back(self, nbytes: int) -> None:
        """Give room back."""
        self._free += nbytes


class Hold:
    """The room that one request takes, until the end of the block."""

    __slots__ = ("_held", "_room")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._room.give_back(self._held)

    def add(self, nbytes: int) -> None:
        """Take room for so many bytes more. Raises Overloaded if there is none; what was taken before stays held."""
        self._room.take(nbytes)
        self._held += nbytes


class Capacity(NamedTuple):
    """What clients share: turns on threads, and room in memory."""

    turns: Turns
    room: Room
