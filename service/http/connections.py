"""All connections of an HTTP server: how long each may take, how many there may be, and who goes when there are too many."""

import logging
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, Protocol

from service.http.receiving import Receiving
from service.processes.process import Process

logger = logging.getLogger("axon.http")
MIN_RATE: Final = 16 * 1024  # bytes a second that a client must send or take to be no slow one
_SPARE_DESCRIPTORS: Final = 128  # for models, logs and the channel to the parent
_REFUSED_AT_ONCE: Final = 128  # connections above the limit that are still told why
_CLOCK_INTERVAL: Final = 0.5  # seconds between two looks at the clock, which shows whole ones
_EVICTED_SHARE: Final = 20  # one in so many idle connections goes when there is no room


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take. Times are in seconds, each described in settings.py.

    Bodies that come whole may take `max_arriving` bytes together; others are let in piece by piece.
    """

    header_timeout: float
    body_timeout: float
    write_timeout: float
    keep_alive_timeout: float
    max_connections: int
    max_arriving: int

    @property
    def interval(self) -> float:
        """Seconds between two looks at all connections: often enough for the shortest time-out."""
        return min(1.0, min(self.header_timeout, self.body_timeout, self.write_timeout, self.keep_alive_timeout) / 4)


class Connection(Protocol):
    """A connection, as its limits see it."""

    @property
    def idle_since(self) -> float | None:
        """When it began to be idle; None while it is not."""

    def look_after(self, now: float) -> None:
        """End the connection if its client takes too long."""

    def end(self) -> None:
        """Close the connection."""


class ConnectionObserver(Protocol):
    """Who wants to know of connections, and of requests that reach no route."""

    def connected(self, count: int) -> None:
        """Note how many connections there are."""

    def turned_away(self, reason: str) -> None:
        """Count one. There are too many `connections`, it is `malformed`, its `head` is too large, or its client `slow`."""


class Connections:
    """The connections of one server process."""

    def __init__(self, limits: Limits, process: Process, observer: ConnectionObserver) -> None:
        self.limits: Final = limits
        self.observer: Final = observer
        self.receiving: Final = Receiving(limits.max_arriving)
        self._process = process
        self._all: set[Connection] = set()
        self._most = min(limits.max_connections, _for_connections(_descriptors()))
        if self._most < limits.max_connections:
            logger.warning("at most %d connections instead of %d: raise `ulimit -n`", self._most, limits.max_connections)
        self._look_at = 0.0
        self._date_at = 0.0
        self.date_line = b""  # the header that says what time it is, as it stands in a response

    def __len__(self) -> int:
        """Return how many there are now."""
        return len(self._all)

    @property
    def stopping(self) -> bool:
        """Whether clients are to be told to go elsewhere."""
        return self._process.is_stopping

    def admit(self, connection: Connection) -> bool:
        """Take a connection in. Idle ones make room for it, those that have been idle longest; if there are none, return False."""
        if len(self._all) >= self._most:
            self._make_room()
        admitted = len(self._all) < self._most
        if not admitted:
            self.observer.turned_away("connections")
        if len(self._all) >= self._most + _REFUSED_AT_ONCE:
            connection.end()
        else:
            self._all.add(connection)
        return admitted

    def gone(self, connection: Connection) -> None:
        """Forget a connection."""
        self._all.discard(connection)

    def look_after(self, now: float) -> None:
        """Look after all connections, if it is time for that. To be called several times a second."""
        if now >= self._date_at:
            self._date_at = now + _CLOCK_INTERVAL
            self.date_line = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        if now < self._look_at:
            return
        self._look_at = now + self.limits.interval
        self.observer.connected(len(self._all))
        for connection in list(self._all):
            connection.look_after(now)

    def _make_room(self) -> None:
        idle = sorted(_idle(self._all), key=lambda entry: entry[0])
        for _, connection in idle[: 1 + len(idle) // _EVICTED_SHARE]:
            self._all.discard(connection)
            connection.end()


def _idle(connections: Iterable[Connection]) -> list[tuple[float, Connection]]:
    return [(connection.idle_since, connection) for connection in connections if connection.idle_since is not None]


def _for_connections(descriptors: int) -> int:
    """Return how many connections so many descriptors allow: of few a quarter, so that a server with a low limit serves at all."""
    return max(descriptors - _SPARE_DESCRIPTORS, descriptors // 4)


def _descriptors() -> int:
    """Return how many descriptors this process may have, after it has asked for all that it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # not allowed, or more than the system has
            return soft
    return hard if hard != resource.RLIM_INFINITY else 1 << 20
