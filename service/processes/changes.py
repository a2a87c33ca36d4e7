"""Loading and unloading by calls, made in every worker: one change after another, so that all end up with the same models."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from service.processes.channel import LONGEST_ERROR, Apply, Change, Done, Relay
from service.processes.slot import WorkerProcess


@dataclass
class _Pending:
    asker: WorkerProcess
    wanted: Relay
    waits_for: list[WorkerProcess] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Changes:
    """The changes that are asked for, and the last one of each model, which a worker that starts must make as well."""

    def __init__(self) -> None:
        self._waiting: deque[_Pending] = deque()
        self._current: _Pending | None = None
        self.made: dict[str, Change] = {}

    def ask(self, asker: WorkerProcess, wanted: Relay, workers: Iterable[WorkerProcess]) -> None:
        """Take a change up, after those before it."""
        self._waiting.append(_Pending(asker, wanted))
        self._next(workers)

    def done(self, worker: WorkerProcess, said: Done, workers: Iterable[WorkerProcess]) -> None:
        """Note that a worker has made the current change, or why not."""
        self._settle(worker, said.error, workers)

    def joined(self, worker: WorkerProcess) -> None:
        """Have a worker that was started amidst a change make it too."""
        if self._current is not None:
            self._send(self._current, worker)

    def ended(self, worker: WorkerProcess, workers: Iterable[WorkerProcess]) -> None:
        """Wait no longer for a worker that has ended: the one that takes its place starts with what is wanted."""
        self._settle(worker, "", workers)

    def _settle(self, worker: WorkerProcess, error: str, workers: Iterable[WorkerProcess]) -> None:
        current = self._current
        if current is None or worker not in current.waits_for:
            return
        current.waits_for.remove(worker)
        if error:
            current.errors.append(error)
        if not current.waits_for:
            self._finish(current)
            self._next(workers)

    def _next(self, workers: Iterable[WorkerProcess]) -> None:
        if self._current is None and self._waiting:
            self._current = self._waiting.popleft()
            for worker in workers:
                self._send(self._current, worker)

    def _send(self, pending: _Pending, worker: WorkerProcess) -> None:
        pending.waits_for.append(worker)
        worker.channel.send(Apply(pending.wanted.number, pending.wanted.change, own=worker is pending.asker))

    def _finish(self, pending: _Pending) -> None:
        self._current = None
        if not pending.errors:
            self.made[pending.wanted.change.name] = pending.wanted.change
        pending.asker.channel.send(Done(pending.wanted.number, "; ".join(pending.errors)[:LONGEST_ERROR]))
