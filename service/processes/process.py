"""What the application knows of the process that it runs in: whether it is to stop, and whether there are others beside it."""

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Protocol

from service.observability.shared_values import Segment
from service.processes.stopping import Stopping


class ModelChanges(Protocol):
    """Who loads and unloads models by calls: lifecycle/ in one process, and a process that has others do it too."""

    async def load(self, name: str, override: Mapping[str, Any] | None = None) -> None:
        """Load a model, or what is new of it. `override` goes before its model.toml."""

    async def unload(self, name: str) -> None:
        """Take all versions of a model down."""


class Controlled(Protocol):
    """The HTTP server, as the one sees it who decides how it ends."""

    def take(self, connection: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere."""

    def drain(self) -> None:
        """Accept no more connections, finish what has been accepted, and end."""

    def hurry(self) -> None:
        """End without waiting any longer."""


class Process:
    """A server that is this one process; worker.py has the process that is one of several.

    After SIGINT or SIGTERM it is not ready, goes on to accept for `delay` seconds, and has `timeout` seconds in all. A second
    signal hurries.
    """

    count = 1
    segments: Sequence[Segment] = ()
    segment: Segment | None = None  # of these, the one that this process writes

    def __init__(self, *, delay: float, timeout: float) -> None:
        self._delay = delay
        self._timeout = timeout
        self._deadline: float | None = None
        self._changes: ModelChanges | None = None
        self.stopping = Stopping()
        self._told: list[Callable[[], None]] = []

    @property
    def is_stopping(self) -> bool:
        """Whether the end has begun."""
        return self._deadline is not None

    @property
    def time_left(self) -> float:
        """Seconds until it must be over; all of them while nothing ends."""
        return self._timeout if self._deadline is None else max(0.0, self._deadline - monotonic())

    def when_stopping(self, tell: Callable[[], None]) -> None:
        """Have `tell` called when the end begins."""
        self._told.append(tell)

    def stop(self) -> None:
        """Begin the end."""
        if self._deadline is None:
            self._deadline = monotonic() + self._timeout
            self.stopping.begun.set()
            for tell in self._told:
                tell()

    def drain(self, server: Controlled) -> None:
        """Have the servers of this process accept nothing more and finish."""
        self.stop()
        self.stopping.refuse()
        server.drain()

    def hurry(self, server: Controlled) -> None:
        """Have them wait for nothing any longer."""
        self.drain(server)
        self.stopping.hurried.set()
        server.hurry()

    def control(self, server: Controlled) -> None:
        """Decide from now on how a server ends. Called on its event loop."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if self.is_stopping:
                self.hurry(server)
                return
            self.stop()
            loop.call_later(self._delay, self.drain, server)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)

    def report(self, held: int) -> None:
        """Say how many connections there are, and with it that the event loop turns."""

    async def loaded(self) -> None:
        """Say that the models of the start are in, and wait until the server as a whole is to be used."""

    def change_with(self, changes: ModelChanges) -> None:
        """Have models loaded and unloaded in this process by this."""
        self._changes = changes

    async def load(self, name: str, override: Mapping[str, Any] | None = None) -> None:
        """Load a model in every process of the server. Raises what the lifecycle raises."""
        await self.own_changes.load(name, override)

    async def unload(self, name: str) -> None:
        """Unload a model in every process of the server. Raises what the lifecycle raises."""
        await self.own_changes.unload(name)

    @property
    def own_changes(self) -> ModelChanges:
        """Who changes models in this process alone."""
        if self._changes is None:
            raise RuntimeError("the application has not said how models are loaded")
        return self._changes
