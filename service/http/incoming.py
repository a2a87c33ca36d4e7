"""The body of a request while it comes: kept until the application asks for it, given in as few pieces as its waiting allows."""

import asyncio
from typing import Final

from service.http.receiving import Filling, Receiving

_CHUNK: Final = 1 << 18  # bytes of a body that the application gets at once while more is coming
_MOST_BUFFERED: Final = 1 << 16  # bytes of a body that wait for the application


class IncomingBody:
    """What has come and was not taken, and whether there is `more` to come. Whoever wants it waits here for news of it."""

    __slots__ = ("_buffered", "_chunks", "_least", "_loop", "_taken", "_waiter", "more")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._chunks: list[bytes | bytearray] = []
        self._buffered = 0
        self._least = _CHUNK  # bytes to be there before a piece is given that is not the last
        self._taken = False  # to its end
        self._waiter: asyncio.Future[None] | None = None
        self.more = True

    @property
    def is_due(self) -> bool:
        """Whether there is a piece to be taken."""
        return not self._taken and (not self.more or self._buffered >= self._least)

    @property
    def is_still_to_come(self) -> bool:
        """Whether not one byte has come of what is to come."""
        return self.more and not self._chunks

    def came(self, data: bytes) -> bool:
        """Keep a piece. Return whether the client should wait, since nobody asks for what there is."""
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered >= self._least:
            self.notify()
        return self._buffered > _MOST_BUFFERED and self._waiter is None

    def fill(self, receiving: Receiving, length: int, aligned: int) -> Filling | None:
        """Have the rest of it received in its own place, if that is better; it is then the body when it ends."""
        filling = receiving.fill(length, self._chunks, aligned)
        if filling is not None:
            self._chunks, self._buffered = [filling.body], 0
        return filling

    def hand_on(self) -> None:
        """Give what has come without waiting for more, which may be long in coming."""
        if self._buffered:
            self._least = 1
            self.notify()

    def ended(self) -> None:
        """Note that it is complete."""
        self.more = False
        self.notify()

    def whole(self) -> bytes | bytearray | None:
        """Take all of it, if all of it is here and nothing was taken to its end."""
        return None if self.more or self._taken else self.take()

    def take(self) -> bytes | bytearray:
        """Take what there is."""
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks, self._buffered, self._least = [], 0, _CHUNK
        self._taken = not self.more
        return body

    def drop(self) -> None:
        """Let go of what nobody asked for, and of whoever waits."""
        self._chunks, self._buffered = [], 0
        self.notify()

    def notify(self) -> None:
        """Wake whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def news(self) -> None:
        """Wait for a piece, for the end, or for whatever else there is to be told."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
