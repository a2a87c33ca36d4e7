"""The process that is one of several workers: takes connections from the parent, and ends when the parent says so or is gone."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from itertools import count as numbers
from typing import Any, Final

from service.errors import AxonError, InvalidRequest, ModelLoadError
from service.observability.shared_values import Segment
from service.processes.channel import (
    LARGEST,
    LONGEST_ERROR,
    Apply,
    Change,
    Channel,
    Connection,
    Done,
    Drain,
    Leaving,
    Loaded,
    Message,
    Opened,
    Relay,
    Report,
    Stop,
)
from service.processes.process import Controlled, Process

logger = logging.getLogger("axon.workers")
REPORT_SECONDS: Final = 0.25


class Worker(Process):
    """What the application knows of a worker. `made` are the changes by calls before it was started."""

    def __init__(
        self,
        channel: Channel,
        segments: Sequence[Segment],
        *,
        number: int,
        count: int,
        made: Sequence[Change],
        timeout: float,
    ) -> None:
        super().__init__(delay=0.0, timeout=timeout)
        self.count = count
        self.segments = segments
        self.segment = segments[number - 1]
        self._made = made
        self._caught_up = asyncio.Event()
        self._channel = channel
        self._number = number
        self._taken = 0
        self._ran_out = False
        self._opened = asyncio.Event()
        self._relays: dict[int, asyncio.Future[str]] = {}
        self._numbers = numbers(1)
        self._failures: dict[int, Exception] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def control(self, server: Controlled) -> None:
        """Do what the parent says. SIGTERM to a worker alone ends it in order; SIGINT of a terminal goes to the parent as well."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._channel.send, Leaving())
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_reader(self._channel.fileno(), self._receive, server)

    def report(self, held: int) -> None:
        """Tell the parent how many connections there are, which also says that the event loop turns."""
        self._channel.send(Report(self._taken, held))

    async def loaded(self) -> None:
        """Make the changes of those before, say that this worker can answer, and wait until all of the start can."""
        for change in self._made:
            try:
                await change.make(self.own_changes)
            except AxonError:  # what is wrong with the model is in the log and in the index
                continue
            except OSError as error:
                logger.warning("worker %d cannot %s model %s: %s", self._number, change.kind, change.name, error)
        self._caught_up.set()
        self._channel.send(Loaded())
        await self._opened.wait()

    async def load(self, name: str, override: Mapping[str, Any] | None = None) -> None:
        """Load a model in all workers. Raises what was raised here, or ModelLoadError with what others say."""
        await self._have_made(Change("load", name, dict(override) if override else None))

    async def unload(self, name: str) -> None:
        """Unload a model in all workers. Raises what was raised here, or ModelLoadError with what others say."""
        await self._have_made(Change("unload", name))

    async def _have_made(self, change: Change) -> None:
        number = next(self._numbers)
        if not self._channel.takes(Apply(number, change, own=True)):  # as which it goes to the workers, longer than a Relay
            raise InvalidRequest(
                "What this call says is too large for a server of several workers. "
                f"Name and configuration may have {LARGEST} bytes together."
            )
        future = self._relays[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Relay(number, change))
        try:
            error = await future
        finally:
            del self._relays[number]
            failure = self._failures.pop(number, None)
        if failure is not None:
            raise failure
        if error:
            raise ModelLoadError(f"Not every worker could {change.kind} model '{change.name}': {error}")

    def _receive(self, server: Controlled) -> None:
        while (received := self._channel.receive()) is not None:
            message, descriptors = received
            if message is None:
                self._parent_is_gone(server)
                return
            if isinstance(message, Connection):
                self._taken += 1
                if descriptors:
                    server.take(socket.socket(fileno=descriptors[0]))
                else:
                    self._ran_out_of_descriptors()
            else:
                self._obey(server, message)

    def _ran_out_of_descriptors(self) -> None:
        """Say once that the kernel has closed a connection for which this process had no descriptor."""
        if not self._ran_out:
            self._ran_out = True
            logger.warning("worker %d has no descriptor left for a connection: raise `ulimit -n`", self._number)

    def _obey(self, server: Controlled, message: Message) -> None:
        match message:
            case Opened():
                self._opened.set()
            case Stop():
                self.stop()
            case Drain(hurry):
                (self.hurry if hurry else self.drain)(server)
            case Apply():
                task = asyncio.create_task(self._make(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case Done(number, error):
                if number in self._relays and not self._relays[number].done():
                    self._relays[number].set_result(error)

    async def _make(self, wanted: Apply) -> None:
        error = ""
        await self._caught_up.wait()  # what was changed before this must not be made after it
        try:
            await wanted.change.make(self.own_changes)
        except Exception as raised:  # noqa: BLE001 -- told to the one who asked
            error = f"worker {self._number}: {raised}"[:LONGEST_ERROR]
            if wanted.own:
                self._failures[wanted.number] = raised
        self._channel.send(Done(wanted.number, error))

    def _parent_is_gone(self, server: Controlled) -> None:
        """Finish and end: nobody gives this process connections any more, and nobody would replace or stop it."""
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        logger.error("worker %d (process %d): the parent process is gone; this one finishes and ends", self._number, os.getpid())
        self.drain(server)
