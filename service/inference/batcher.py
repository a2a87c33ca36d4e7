"""Dynamic batching: requests that wait while a session is busy share its next run.

Work-conserving: an idle session takes what waits as soon as the event loop has read the requests that are there, so that requests
which arrived together run together. Everything but the runs happens on the event loop.
"""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Protocol

import numpy as np

from service.errors import QueueFull, ShuttingDown
from service.inference.batch import chunks, merge
from service.inference.entry import Entry
from service.inference.execution import Execution, Outcome, Run
from service.inference.queue import EntryQueue
from service.inference.worker import Worker
from service.repository.configuration import Batching

Array = np.ndarray[Any, Any]


class RunObserver(Protocol):
    """Is told of every run: the entries it held, and why it started when it did."""

    def ran(self, entries: Sequence[Entry], *, reason: str) -> None:
        """Report one finished run. `reason` is one of full, idle, delay, shutdown."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a request went, in seconds."""

    queue_seconds: float
    compute_seconds: float


@dataclass(frozen=True, slots=True)
class _Job:
    entries: list[Entry]
    reason: str


# Waking a thread and being woken by it costs the event loop about this much; a shorter run is done by the loop itself.
_HAND_OVER_SECONDS: Final = 100e-6


class Batcher:
    """Queue and workers of one model version.

    `run` takes one array per input and gives one per output; it is called on a worker's thread, one call at a time per worker.
    With `merge_requests` False every request is a run of its own, whatever its rows. `steady` says that the time of a run follows
    from its rows: then runs that are known to be brief happen on the event loop. Must be made on a running event loop.
    """

    def __init__(
        self,
        run: Run,
        *,
        name: str,
        version: int,
        batching: Batching,
        observer: RunObserver,
        merge_requests: bool = True,
        steady: bool = False,
        workers: int = 1,
    ) -> None:
        self._execute = Execution(run, name=name, version=version, merged=merge_requests)
        self._name: Final = name
        self._batching: Final = batching
        self._observer = observer
        self._max_batch_size: Final = batching.max_batch_size if merge_requests else 1
        self._merge_requests: Final = merge_requests
        self._steady: Final = steady
        self._loop = asyncio.get_running_loop()
        self._queue = EntryQueue(max_size=batching.max_queue_size)
        self._workers = [
            Worker(self._run_job, self._finished, loop=self._loop, name=f"axon-{name}-{version}-{index}")
            for index in range(workers)
        ]
        self._idle = list(self._workers)
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._dispatch_scheduled = False
        self._emptied = asyncio.Event()

    @property
    def pending_rows(self) -> int:
        """How many rows wait now."""
        return self._queue.rows

    async def submit(self, inputs: Sequence[Array], *, rows: int, key: Hashable) -> tuple[list[Array], Timing]:
        """Run the inputs, alone or with others of the same `key`, and return this request's outputs.

        `rows` is the size of the first axis; a request of more than `max_batch_size` rows becomes several entries. Raises
        QueueFull, ShuttingDown or ModelFailed. If the caller is cancelled, its entries leave the queue.
        """
        if self._closing:
            raise ShuttingDown
        self.refuse_if_full(rows=rows)
        if rows <= self._max_batch_size or not self._merge_requests:
            entry = self._enqueue(inputs, rows, key)
            try:
                outputs = await entry.future
            except asyncio.CancelledError:
                self._queue.abandon(entry)
                raise
            return outputs, Timing(entry.queue_seconds, entry.compute_seconds)
        return await self._submit_pieces(inputs, rows, key)

    def refuse_if_full(self, *, rows: int) -> None:
        """Raise QueueFull if `rows` more rows cannot wait."""
        if not self._queue.admits(rows):
            raise QueueFull(self._name, self._batching.max_queue_size)

    async def close(self) -> None:
        """Take no more requests, finish those that were accepted, then end the workers."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._dispatch()
        self._note_if_empty()
        try:
            await self._emptied.wait()
        finally:
            for worker in self._workers:
                worker.stop()

    async def _submit_pieces(self, inputs: Sequence[Array], rows: int, key: Hashable) -> tuple[list[Array], Timing]:
        pieces = chunks(inputs, rows, self._max_batch_size)
        entries = [self._enqueue(piece, min(self._max_batch_size, len(piece[0])), key) for piece in pieces]
        try:
            outputs = await asyncio.gather(*(entry.future for entry in entries))
        except BaseException:
            for entry in entries:  # one piece failed or the caller left: the others are of no use
                entry.future.cancel()
                self._queue.abandon(entry)
            raise
        timing = Timing(
            queue_seconds=max(entry.queue_seconds for entry in entries),
            compute_seconds=sum(entry.compute_seconds for entry in entries),
        )
        return merge(outputs), timing

    def _enqueue(self, inputs: Sequence[Array], rows: int, key: Hashable) -> Entry:
        entry = Entry(inputs, rows, key, self._loop.create_future())
        self._queue.append(entry)
        if self._idle and not self._dispatch_scheduled:
            self._dispatch_scheduled = True
            self._loop.call_soon(self._dispatch)
        return entry

    def _dispatch(self) -> None:
        """Give idle workers what waits; with a queue delay, leave what is not yet due to a timer."""
        self._dispatch_scheduled = False
        while self._idle and (due := self._next_due()) is not None:
            head, reason = due
            entries = self._queue.take(head.key, max_rows=self._max_batch_size)
            if not entries:
                continue
            if self._is_brief(entries):
                self._resolve(entries, self._execute(entries), reason)
            else:
                self._idle.pop().submit(_Job(entries, reason))

    def _is_brief(self, entries: Sequence[Entry]) -> bool:
        """Whether handing the batch to a worker would take longer than running it here."""
        if not self._steady:
            return False
        expected = self._execute.expected_seconds(sum(entry.rows for entry in entries))
        return expected is not None and expected < _HAND_OVER_SECONDS

    def _next_due(self) -> tuple[Entry, str] | None:
        """Return the head of the next batch and why it is to start now; None, with a timer set, if it shall wait."""
        oldest = self._queue.oldest()
        if oldest is None:
            return None
        if self._closing:
            return oldest, "shutdown"
        delay = self._batching.max_queue_delay
        if delay == 0 or not self._merge_requests:
            full = self._merge_requests and self._queue.rows >= self._max_batch_size
            return oldest, "full" if full else "idle"
        if (head := self._queue.oldest_full(self._max_batch_size)) is not None:
            return head, "full"
        remaining = oldest.enqueued_at + delay - perf_counter()
        if remaining <= 0:
            return oldest, "delay"
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(remaining, self._dispatch)
        return None

    def _run_job(self, job: _Job) -> list[Outcome]:
        return self._execute(job.entries)

    def _finished(self, worker: Worker[_Job, list[Outcome]], job: _Job, outcomes: list[Outcome]) -> None:
        self._idle.append(worker)
        try:
            self._dispatch()  # first the next batch, then the answers: the session is never idle while someone waits
        finally:
            self._resolve(job.entries, outcomes, job.reason)
            self._note_if_empty()

    def _note_if_empty(self) -> None:
        if self._closing and not self._queue.rows and len(self._idle) == len(self._workers):
            self._emptied.set()

    def _resolve(self, entries: Sequence[Entry], outcomes: Sequence[Outcome], reason: str) -> None:
        for entry, outcome in zip(entries, outcomes, strict=True):
            entry.finish(outcome)
        self._observer.ran(entries, reason=reason)
