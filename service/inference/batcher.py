"""Dynamic batching: requests that wait while a session is busy share its next run.

Work-conserving: an idle session takes what waits as soon as the event loop has read the requests that are there, so that requests
which arrived together run together. Everything but the runs happens on the event loop.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Protocol

import numpy as np

from service.errors import ModelFailed, QueueFull, ShuttingDown
from service.inference.batch import chunks, join, merge, split
from service.inference.entry import Entry
from service.inference.queue import EntryQueue
from service.inference.worker import Worker
from service.repository.configuration import Batching

Array = np.ndarray[Any, Any]
Run = Callable[[Sequence[Array]], list[Array]]


class RunObserver(Protocol):
    """Is told of every run: the entries it held, and why it started when it did."""

    def ran(self, entries: Sequence[Entry], *, reason: str) -> None:
        """Report one finished run. `reason` is one of full, idle, delay, shutdown."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a request went, in seconds, and how many rows its largest run had."""

    queue_seconds: float
    compute_seconds: float
    run_rows: int


@dataclass(frozen=True, slots=True)
class _Job:
    entries: list[Entry]
    reason: str


_Outcomes = list[list[Array] | Exception]


class Batcher:
    """Queue and workers of one model version.

    `run` takes one array per input and gives one per output; it is called on a worker's thread, one call at a time per worker.
    With `merge_requests` False every request is a run of its own, whatever its rows. Must be made on a running event loop.
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
        workers: int = 1,
    ) -> None:
        self._run = run
        self._name: Final = name
        self._version: Final = version
        self._batching: Final = batching
        self._observer = observer
        self._max_batch_size: Final = batching.max_batch_size if merge_requests else 1
        self._merge_requests: Final = merge_requests
        self._loop = asyncio.get_running_loop()
        self._queue = EntryQueue(max_size=batching.max_queue_size)
        self._workers = [
            Worker(self._execute, self._finished, loop=self._loop, name=f"axon-{name}-{version}-{index}")
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
            raise ShuttingDown(self._name)
        if not self._queue.admits(rows):
            raise QueueFull(self._name, self._batching.max_queue_size)
        if rows <= self._max_batch_size or not self._merge_requests:
            entry = self._enqueue(inputs, rows, key)
            return await entry.future, Timing(entry.queue_seconds, entry.compute_seconds, entry.run_rows)
        return await self._submit_pieces(inputs, rows, key)

    async def close(self) -> None:
        """Take no more requests, finish those that were accepted, then end the workers."""
        self._closing = True
        self._dispatch()
        if self._queue.rows or len(self._idle) < len(self._workers):
            await self._emptied.wait()
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
            raise
        timing = Timing(
            queue_seconds=max(entry.queue_seconds for entry in entries),
            compute_seconds=sum(entry.compute_seconds for entry in entries),
            run_rows=max(entry.run_rows for entry in entries),
        )
        return join(outputs), timing

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
            if entries := self._queue.take(head.key, max_rows=self._max_batch_size):
                self._idle.pop().submit(_Job(entries, reason))

    def _next_due(self) -> tuple[Entry, str] | None:
        """Return the head of the next batch and why it is to start now; None, with a timer set, if it shall wait."""
        oldest = self._queue.oldest()
        if oldest is None:
            return None
        if self._closing:
            return oldest, "shutdown"
        delay = self._batching.max_queue_delay
        if delay == 0 or not self._merge_requests:
            return oldest, "full" if self._queue.rows >= self._max_batch_size else "idle"
        if full := self._queue.oldest_full(self._max_batch_size):
            return full, "full"
        remaining = oldest.enqueued_at + delay - perf_counter()
        if remaining <= 0:
            return oldest, "delay"
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(remaining, self._dispatch)
        return None

    def _execute(self, job: _Job) -> _Outcomes:
        """On the worker's thread: run the batch; if it fails, each entry alone, so that only the guilty one gets the error."""
        outcomes = self._run_together(job.entries)
        if len(job.entries) > 1 and isinstance(outcomes[0], Exception):
            return [outcome for entry in job.entries for outcome in self._run_together([entry])]
        return outcomes

    def _run_together(self, entries: list[Entry]) -> _Outcomes:
        rows = [entry.rows for entry in entries]
        started_at = perf_counter()
        outcomes: _Outcomes
        try:
            outputs = self._run(merge([entry.inputs for entry in entries]))
            outcomes = list(split(outputs, rows)) if self._merge_requests else [outputs]
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, every caller gets an answer
            outcomes = [ModelFailed(self._name, self._version, str(error) or type(error).__name__)] * len(rows)
        compute_seconds = perf_counter() - started_at
        for entry in entries:
            entry.queue_seconds = started_at - entry.enqueued_at
            entry.compute_seconds = compute_seconds
            entry.run_rows = sum(rows)
        return outcomes

    def _finished(self, worker: Worker[_Job, _Outcomes], job: _Job, outcomes: _Outcomes) -> None:
        self._idle.append(worker)
        self._dispatch()  # first the next batch, then the answers: the session is never idle while someone waits
        for entry, outcome in zip(job.entries, outcomes, strict=True):
            entry.finish(outcome)
        self._observer.ran(job.entries, reason=job.reason)
        if self._closing and not self._queue.rows and len(self._idle) == len(self._workers):
            self._emptied.set()
