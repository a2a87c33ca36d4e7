"""The parent of the workers: accepts connections and gives each to a worker, replaces workers that end, and ends with them.

Why not one listening socket for each worker (SO_REUSEPORT): the kernel spreads connections by a hash, so of the few connections
that a proxy keeps alive two workers often get very different numbers, for good; and those that wait at one that dies are reset.
Why not one listening socket for all workers: who wakes up first takes all that wait, which is as uneven, and a worker that has not
loaded its models must be kept away from it. A parent that accepts knows how many connections each worker has, passes over one that
loads or does not answer, and loses none that waits. It costs a little for each connection, and nothing for a request.
"""

import logging
import os
import selectors
import signal
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

from service.errors import ConfigurationError, NoWorkerStarts
from service.observability.metrics import WorkerMetrics
from service.observability.shared_values import Segment, keep_values_in
from service.processes.changes import Changes
from service.processes.channel import Channel, Done, Drain, Leaving, Loaded, Message, Opened, Relay, Report, Stop
from service.processes.slot import Slot, WorkerProcess, connections_of, least_busy
from service.processes.worker import Worker
from service.settings import Settings

logger = logging.getLogger("axon.workers")
_TICK: Final = 0.05  # seconds
_ACCEPTED_AT_ONCE: Final = 64
_STARTS_WITHOUT_HOPE: Final = 5  # in a row in every slot, none of which got as far as to load
_GRACE: Final = 2.0  # seconds that a worker may take beyond the time for finishing


class Supervisor:
    """Runs `settings.workers` processes over listening sockets. Single-threaded and without an event loop, so that it may fork."""

    def __init__(self, settings: Settings, listeners: Sequence[socket.socket]) -> None:
        if not hasattr(os, "pidfd_open"):
            raise ConfigurationError("Several workers need Linux. Leave the setting 'workers' at 1.")
        self._settings = settings
        self._listeners = list(listeners)
        self._slots = [Slot(number, Segment()) for number in range(1, settings.workers + 1)]
        own = Segment()
        own.pid = os.getpid()
        self._segments = [*(slot.segment for slot in self._slots), own]
        self._metrics = WorkerMetrics(own)
        self._changes = Changes()
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._accepted: deque[socket.socket] = deque()
        self._paused: list[socket.socket] = []
        self._opened = False
        self._stop_at: float | None = None  # when the workers are told to finish
        self._kill_at: float | None = None

    def run(self) -> Worker | None:
        """Supervise until told to stop, then return None; in the processes that are forked meanwhile, return what each is to be.

        Raises NoWorkerStarts.
        """
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda signum, _frame: self._signals.append(signum))
        self._selector.register(wake, selectors.EVENT_READ)
        for listener in self._listeners:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ, self._accept)
        while not self._over():
            if (worker := self._start_due()) is not None:
                wake.close()
                woken.close()
                return worker
            for key, _ in self._selector.select(_TICK):
                if key.data is None:
                    with suppress(BlockingIOError):
                        wake.recv(64)
                elif isinstance(key.data, Slot):
                    self._attend(key.data, ended=not isinstance(key.fileobj, Channel))
                else:
                    key.data(key.fileobj)
            self._tick()
        return None

    def _start_due(self) -> Worker | None:
        """Start the workers that are missing and whose time has come; in the new process, return what it is."""
        now = monotonic()
        for slot in self._slots:
            if slot.worker is None and slot.start_at <= now and self._stop_at is None:
                self._give_up_without_hope()
                if (worker := self._fork(slot)) is not None:
                    return worker
        return None

    def _fork(self, slot: Slot) -> Worker | None:
        """Start a worker. It is forked, not started afresh: all is imported already, which would take longer than loading."""
        mine, its = Channel.pair()
        pid = os.fork()
        if pid == 0:
            mine.close()
            return self._become_worker(slot, its)
        its.close()
        now = monotonic()
        worker = WorkerProcess(pid, os.pidfd_open(pid), mine, started_at=now, heard_at=now)
        slot.worker = worker
        self._selector.register(mine, selectors.EVENT_READ, slot)
        self._selector.register(worker.pidfd, selectors.EVENT_READ, slot)
        self._changes.joined(worker)
        if self._opened:
            mine.send(Opened())
        self._metrics.running(sum(slot.worker is not None for slot in self._slots))
        logger.info("worker %d is process %d", slot.number, pid)
        return None

    def _become_worker(self, slot: Slot, channel: Channel) -> Worker:
        """Let go of all that is the parent's: nobody else may hold its sockets when it is gone."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for connection in (*self._listeners, *self._accepted):
            connection.close()
        keep_values_in(slot.segment)
        for other in self._slots:
            if other.worker is not None:
                other.worker.channel.close()
                os.close(other.worker.pidfd)
        slot.segment.pid = os.getpid()
        return Worker(
            channel,
            self._segments,
            number=slot.number,
            count=len(self._slots),
            made=tuple(self._changes.made.values()),
            timeout=self._settings.shutdown_timeout,
        )

    def _accept(self, listener: socket.socket) -> None:
        """Give connections that wait to the workers with the fewest; while nobody can take one, they wait in the backlog."""
        for _ in range(_ACCEPTED_AT_ONCE):
            if not self._deliver():
                break
            try:
                connection, _ = listener.accept()
            except BlockingIOError:  # none waits any more
                return
            except OSError:  # no descriptors, or the client has left meanwhile
                break
            self._accepted.append(connection)
        self._selector.unregister(listener)  # until the next tick
        self._paused.append(listener)

    def _deliver(self) -> bool:
        """Hand over what has been accepted; return whether a worker could take one more."""
        workers = least_busy(self._slots, now=monotonic(), loading_too=not self._opened)
        while self._accepted:
            taker = next((worker for worker in workers if worker.channel.hand_over(self._accepted[0])), None)
            if taker is None:
                return False
            taker.given += 1
            self._accepted.popleft().close()
            workers.sort(key=connections_of)
        return bool(workers)

    def _attend(self, slot: Slot, *, ended: bool) -> None:
        """Hear what a worker says, or see that it has ended."""
        worker = slot.worker
        if worker is None:
            return
        while (received := worker.channel.receive()) is not None and received[0] is not None:
            self._hear(slot, worker, received[0])
        if ended:
            self._bury(slot, worker)
        elif received is not None:  # it has closed its end, so it is about to end
            self._selector.unregister(worker.channel)
            worker.closed = True

    def _hear(self, slot: Slot, worker: WorkerProcess, message: Message) -> None:
        match message:
            case Report():
                worker.reported(message, now=monotonic())
            case Loaded():
                worker.loaded_at = worker.heard_at = monotonic()
                logger.info("worker %d is ready to serve after %.2f s", slot.number, worker.loaded_at - worker.started_at)
                self._open()
            case Leaving():
                worker.leaving = True
                worker.channel.send(Drain())
            case Relay():
                self._changes.ask(worker, message, self._running())
            case Done():
                self._changes.done(worker, message, self._running())

    def _open(self) -> None:
        """Once every worker has loaded, or has failed to, let all of them be used."""
        waited_for = [slot for slot in self._slots if slot.unloaded_starts == 0]
        if not self._opened and all(slot.worker is not None and slot.worker.loaded_at is not None for slot in waited_for):
            self._opened = True
            loaded = [worker for worker in self._running() if worker.loaded_at is not None]
            logger.info("%d of %d workers ready", len(loaded), len(self._slots))
            for worker in self._running():
                worker.channel.send(Opened())

    def _bury(self, slot: Slot, worker: WorkerProcess) -> None:
        """Take note of the end of a worker."""
        with suppress(KeyError):
            self._selector.unregister(worker.channel)
        self._selector.unregister(worker.pidfd)
        os.close(worker.pidfd)
        worker.channel.close()
        _, status = os.waitpid(worker.pid, 0)
        delay = slot.ended(now=monotonic())
        self._metrics.running(len(self._running()))
        self._changes.ended(worker, self._running())
        if self._stop_at is not None:
            return
        self._metrics.restarted()
        logger.error(
            "worker %d (process %d) ended: %s; a new one starts %s",
            slot.number,
            worker.pid,
            _ending(os.waitstatus_to_exitcode(status)),
            f"in {delay:g} s, as the last {slot.failures} did not last" if delay else "now",
        )
        self._open()

    def _give_up_without_hope(self) -> None:
        if all(slot.worker is None and slot.unloaded_starts >= _STARTS_WITHOUT_HOPE for slot in self._slots):
            raise NoWorkerStarts(len(self._slots), _STARTS_WITHOUT_HOPE)

    def _tick(self) -> None:
        """Do what is to be done without being told: signals, messages that wait, the end, workers that hang."""
        now = monotonic()
        for _ in range(len(self._signals)):
            self._signals.pop()
            self._told_to_stop(now)
        if self._stop_at is not None and self._stop_at <= now and self._kill_at is None:
            self._drain(now)
        if self._deliver():
            for listener in self._paused:
                self._selector.register(listener, selectors.EVENT_READ, self._accept)
            self._paused.clear()
        for slot in self._slots:
            if slot.worker is None:
                continue
            slot.worker.channel.flush()
            silent = now - slot.worker.heard_at
            if slot.worker.loaded_at is not None and self._kill_at is None and silent > self._settings.worker_timeout:
                logger.error("worker %d (process %d) hangs: killed after %.0f s of silence", slot.number, slot.worker.pid, silent)
                os.kill(slot.worker.pid, signal.SIGKILL)
                slot.worker.heard_at = now
        if self._kill_at is not None and self._kill_at <= now:
            for worker in self._running():
                logger.error("process %d is killed: it did not end in %d s", worker.pid, self._settings.shutdown_timeout)
                os.kill(worker.pid, signal.SIGKILL)
            self._kill_at = now + _GRACE

    def _told_to_stop(self, now: float) -> None:
        """At the first signal be not ready, but go on for the delay; at the second end at once."""
        if self._stop_at is None:
            self._stop_at = now + self._settings.shutdown_delay
            for worker in self._running():
                worker.channel.send(Stop())
            return
        self._stop_at = now
        self._drain(now)
        self._kill_at = now + _GRACE
        for worker in self._running():
            worker.channel.send(Drain(hurry=True))

    def _drain(self, now: float) -> None:
        """Accept nothing more; what was accepted before has gone to a worker before it is told to finish."""
        for listener in self._listeners:
            self._accept(listener)  # what the kernel has accepted already; its clients think that they are connected
            self._selector.unregister(listener)
            listener.close()
        self._listeners.clear()
        self._kill_at = now + max(0.0, self._settings.shutdown_timeout - self._settings.shutdown_delay) + _GRACE
        for worker in self._running():
            worker.channel.send(Drain())

    def _over(self) -> bool:
        return self._stop_at is not None and not self._running()

    def _running(self) -> list[WorkerProcess]:
        return [slot.worker for slot in self._slots if slot.worker is not None]


def _ending(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
