"""The flow of bytes on a connection: who waits for whom, and whether anybody is still there."""

import asyncio
import socket
from contextlib import suppress
from typing import Final

from service.http.connections import MIN_RATE

_TCP_CLOSE: Final = 7  # a state of Linux, include/net/tcp_states.h


class Flow(asyncio.BufferedProtocol):
    """A protocol that lets its client wait, and waits for its client, but not for ever."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.transport: asyncio.Transport
        self.write_paused = False
        self.read_paused = False
        self._writable: asyncio.Future[None] | None = None
        self._unsent = 0  # bytes that the client had not taken at `_unsent_since`
        self._unsent_since = 0.0

    def pause_writing(self) -> None:
        """Be told that the client does not take what is sent."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Be told that it does again."""
        self.write_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    async def drain(self) -> None:
        """Wait until the client has taken most of what was sent."""
        while self.write_paused:
            self._writable = self.loop.create_future()
            await self._writable

    def pause_reading(self) -> None:
        """Let the client wait."""
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Let it go on."""
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def does_not_read(self, now: float, patience: float) -> bool:
        """Whether for so many seconds an answer has waited for a client that takes next to nothing of it."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._unsent and now - self._unsent_since <= patience:
            return False
        stuck = bool(unsent and self._unsent) and self._unsent - unsent < MIN_RATE * patience
        self._unsent, self._unsent_since = unsent, now
        return stuck

    def is_reset(self) -> bool:
        """Whether the system of the client has said that nobody reads there; False where the state cannot be asked for."""
        if hasattr(socket, "TCP_INFO"):
            with suppress(OSError), self.transport.get_extra_info("socket").dup() as connection:
                return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)
        return False
