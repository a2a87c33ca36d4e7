"""One of the places for a worker: the process that is in it, what the parent knows of it, and when the next one may start."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from service.observability.shared_values import Segment
from service.processes.channel import Channel, Report

STEADY_SECONDS: Final = 10.0  # a worker that has served for so long did not fail at its start
FIRST_DELAY: Final = 0.1  # seconds before the second try; each further one waits twice as long
LONGEST_DELAY: Final = 30.0
SILENT_SECONDS: Final = 1.0  # without a report: gets no connections meanwhile


@dataclass
class WorkerProcess:
    """A worker that runs. Times are of `monotonic`."""

    pid: int
    pidfd: int
    channel: Channel
    started_at: float
    heard_at: float
    loaded_at: float | None = None
    leaving: bool = False
    closed: bool = False
    given: int = 0
    _report: Report = field(default_factory=lambda: Report(0, 0))

    def reported(self, report: Report, *, now: float) -> None:
        """Note what it says of its connections."""
        self._report, self.heard_at = report, now

    @property
    def connections(self) -> int:
        """How many connections it has, those on their way to it included."""
        return self._report.held + self.given - self._report.taken

    def takes_connections(self, *, now: float) -> bool:
        """Whether it is there for connections, and its event loop turns."""
        return not self.leaving and not self.closed and now - self.heard_at < SILENT_SECONDS


class Slot:
    """A place for a worker. Its segment outlives the workers in it, and so do their counts."""

    def __init__(self, number: int, segment: Segment) -> None:
        self.number = number
        self.segment = segment
        self.worker: WorkerProcess | None = None
        self.start_at = 0.0
        self.failures = 0  # starts in a row after which the worker did not last
        self.unloaded_starts = 0  # starts in a row whose worker has not even loaded

    def ended(self, *, now: float) -> float:
        """Forget the worker, which has ended; return the seconds until the next one may start, more each time it fails early."""
        worker, self.worker = self.worker, None
        self.segment.forget_gauges()
        if worker is None:
            return 0.0
        loaded_at = worker.loaded_at
        self.unloaded_starts = 0 if loaded_at is not None else self.unloaded_starts + 1
        lasted = loaded_at is not None and now - loaded_at >= STEADY_SECONDS
        self.failures = 0 if lasted or worker.leaving else self.failures + 1
        delay = 0.0 if self.failures <= 1 else min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self.failures - 2, 20))
        self.start_at = now + delay
        return delay


def connections_of(worker: WorkerProcess) -> int:
    """Return how busy a worker is."""
    return worker.connections


def least_busy(slots: Sequence[Slot], *, now: float, loading_too: bool) -> list[WorkerProcess]:
    """Return the workers that can take a connection, the one with the fewest first.

    Once one has loaded its models, those that have not get none: nobody meets a model that is not there yet. `loading_too`: before
    that they do, so that probes are answered while the server starts.
    """
    able = [slot.worker for slot in slots if slot.worker is not None and slot.worker.takes_connections(now=now)]
    loaded = [worker for worker in able if worker.loaded_at is not None]
    return sorted(able if loading_too and not loaded else loaded, key=connections_of)
