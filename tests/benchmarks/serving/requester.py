"""A load generator for what wrk has not: a fixed rate, with latency from the moment a request was due; and a fixed count.

    python requester.py '{"host": ..., "port": ..., "request": FILE, "connections": 16, "into": FILE,
                         "rate": 500, "seconds": 10, "seed": 1}'

With a `rate`, requests are due at random moments (a Poisson process, as independent clients make them). One that is due while
every connection is busy waits, and that wait counts: a slow answer does not thin out the load that follows it. With a `count`
instead, every connection sends its next request when it has its answer. Writes one record a request: due, sent and answered, in
seconds of its clock, the status, and Retry-After in seconds (NaN without one). It spins rather than sleeps, so give it a core.
"""

import json
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

RECORD: Final = np.dtype([("due", "f8"), ("sent", "f8"), ("answered", "f8"), ("status", "i4"), ("retry_after", "f8")])
_SPIN_SECONDS: Final = 0.001
_BUFFER: Final = 1 << 18
_PATIENCE: Final = 60.0  # after the last request is due


class Connection:
    """One connection, one request at a time."""

    def __init__(self, address: tuple[str, int], request: bytes, selector: selectors.BaseSelector) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._request = memoryview(request)
        self._unsent = self._request[:0]
        self._selector = selector
        self._received = bytearray()
        self._reading = True
        selector.register(self._socket, selectors.EVENT_READ, self)
        self.due = self.sent = 0.0

    def begin(self, due: float) -> None:
        """Send the request that was due."""
        self.due, self.sent = due, time.perf_counter()
        self._unsent = self._request
        self._write()

    def proceed(self) -> tuple[int, float] | None:
        """Go on with what the socket is ready for; return status and Retry-After when the answer is complete."""
        if self._unsent:
            self._write()
        try:
            data = self._socket.recv(_BUFFER)
        except BlockingIOError:
            return None
        if not data:
            raise ConnectionError("the server closed a connection")
        self._received += data
        return self._answer()

    def _write(self) -> None:
        with suppress(BlockingIOError):
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        if bool(self._unsent) == self._reading:
            self._reading = not self._unsent
            events = selectors.EVENT_READ if self._reading else selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(self._socket, events, self)

    def _answer(self) -> tuple[int, float] | None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._received[:end]).lower()
        if len(self._received) < end + 4 + int(_header(head, b"content-length") or 0):
            return None
        self._received.clear()
        return int(head[9:12]), float(_header(head, b"retry-after") or "nan")


class Load:
    """Requests that are due, connections that are free, and the records of what came back."""

    def __init__(self, connections: list[Connection], selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._free = deque(connections)
        self.records: list[tuple[float, float, float, int, float]] = []

    def run(self, moments: Iterator[float], *, last: float) -> None:
        """Send a request at each of the moments, ascending, and wait for all answers."""
        waiting: deque[float] = deque()
        upcoming = next(moments, None)
        unanswered = 0
        while upcoming is not None or waiting or unanswered:
            now = time.perf_counter()
            if now > last + _PATIENCE:
                raise TimeoutError(f"{unanswered} requests are not answered")
            while upcoming is not None and upcoming <= now:
                waiting.append(upcoming)
                upcoming = next(moments, None)
            while waiting and self._free:
                self._free.popleft().begin(waiting.popleft())
                unanswered += 1
            sleep = 0.0 if unanswered or upcoming is None else upcoming - time.perf_counter() - _SPIN_SECONDS
            unanswered -= self._collect(max(0.0, sleep))

    def repeat(self, count: int) -> None:
        """Send `count` requests, the next on each connection when it is free."""
        started = time.perf_counter()
        self.run(iter([started] * count), last=started + 86400)

    def _collect(self, timeout: float) -> int:
        answered = 0
        for key, _events in self._selector.select(timeout):
            connection: Connection = key.data
            answer = connection.proceed()
            if answer is not None:
                self.records.append((connection.due, connection.sent, time.perf_counter(), *answer))
                self._free.append(connection)
                answered += 1
        return answered


def _header(head: bytes, name: bytes) -> bytes | None:
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else None


def _poisson(rate: float, seconds: float, seed: int) -> Iterator[float]:
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=max(1, round(rate * seconds)))
    began = time.perf_counter() + 0.01
    yield from (began + np.cumsum(gaps)).tolist()


def main() -> None:
    """Generate one load."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    request = Path(options["request"]).read_bytes()
    selector = selectors.DefaultSelector()
    address = (options["host"], options["port"])
    load = Load([Connection(address, request, selector) for _ in range(options["connections"])], selector)
    if "rate" in options:
        moments = _poisson(options["rate"], options["seconds"], options["seed"])
        load.run(moments, last=time.perf_counter() + options["seconds"])
    else:
        load.repeat(options["count"])
    np.save(options["into"], np.array(load.records, dtype=RECORD))


if __name__ == "__main__":
    main()
