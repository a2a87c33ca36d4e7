"""Dynamic batching: requests that wait while a session is busy share its next run.

Work-conserving: an idle session takes what waits as soon as the event loop has read the requests that are there, so that requests
which arrived together run together. A session that has run takes the next batch at once, whatever the loop is busy with; all else
but the runs happens on the event loop.
"""

import asyncio
import threading
from collections.abc import Coroutine, Hashable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final, Protocol

import msgspec
import numpy as np

from service.errors import DeadlineExceeded, ShuttingDown
from service.inference.admission import Admission
from service.inference.batch import chunks, merge
from service.inference.entry import Entry
from service.inference.estimate import RunTimes
from service.inference.execution import Executed, Execution, Run, RunReport
from service.inference.queue import EntryQueue
from service.inference.threads import available_cpus
from service.inference.worker import Worker
from service.repository.configuration import Batching
from service.request_context import current_trace

Array = np.ndarray[Any, Any]


class RunObserver(Protocol):
    """Is told of every run."""

    def ran(self, run: RunReport, *, reason: str) -> None:
        """Report one finished run and why it started when it did: full, idle, delay, shutdown; retry after a failed one."""


class Timing(msgspec.Struct, frozen=True):
    """Where the time of a request went, in seconds."""

    queue_seconds: float
    compute_seconds: float


class _Job(msgspec.Struct, frozen=True):
    entries: list[Entry]
    reason: str


# Waking a thread and being woken by it costs the event loop about this much; a shorter run is done by the loop itself.
_HAND_OVER_SECONDS: Final = 100e-6
# With one CPU a thread beside the loop gains nothing, as long as the loop comes to its other duties often enough.
_ALONE_SECONDS: Final = 5e-3
_TURN_SECONDS: Final = 10e-3  # for runs on the loop before it looks after its connections again


class Batcher:
    """Queue and workers of one model version.

    Each of `runs` takes one array per input and gives one per output; it is called on a thread of its own, one call at a time.
    Requests are merged up to `merged_rows` rows, by default to the largest batch; one that has more is a run or several by itself.
    With `merge_requests` False every request is a run of its own, whatever its rows. `steady` says that the time of a run follows
    from its rows: then runs that are known to be brief happen on the event loop. Must be made on a running event loop.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        name: str,
        version: int,
        batching: Batching,
        observer: RunObserver,
        merge_requests: bool = True,
        merged_rows: int | None = None,
        steady: bool = False,
    ) -> None:
        self._name: Final = name
        self._batching: Final = batching
        self._observer = observer
        self._max_batch_size: Final = batching.max_batch_size if merge_requests else 1
        self._merged_rows: Final = (merged_rows or batching.max_batch_size) if merge_requests else 1
        self._merge_requests: Final = merge_requests
        self._steady: Final = steady
        self._loop = asyncio.get_running_loop()
        self._queue = EntryQueue()
        self._changing_queue = threading.Lock()  # the loop puts entries in and takes some out, workers take others
        self._times = RunTimes()
        self._cpu_times = RunTimes()
        self._admission = Admission(
            name,
            batching,
            self._queue,
            self._times,
            sessions=len(runs),
            merged_rows=self._merged_rows if merge_requests else None,
        )
        self._brief_seconds: Final = _ALONE_SECONDS if available_cpus() == 1 else _HAND_OVER_SECONDS
        sizes = batching.batch_sizes
        executions = [
            Execution(run, self._times, self._cpu_times, name=name, version=version, merged=merge_requests, batch_sizes=sizes)
            for run in runs
        ]
        self._workers = [
            Worker(
                partial(_run_job, execution),
                self._finished,
                self._following,
                loop=self._loop,
                name=f"axon-{name}-{version}-{index}",
            )
            for index, execution in enumerate(executions)
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

    @property
    def max_queue_size(self) -> int:
        """How many rows may wait now."""
        return self._admission.max_queue_size

    @property
    def busy_sessions(self) -> int:
        """How many runs go on now on threads of their own."""
        return len(self._workers) - len(self._idle)

    async def submit(
        self, inputs: Sequence[Array], *, rows: int, key: Hashable, deadline: float | None = None, priority: int = 0
    ) -> tuple[list[Array], Timing]:
        """Run the inputs, alone or with others of the same `key`, and return this request's outputs.

        `rows` is the size of the first axis; a request of more than `max_batch_size` rows becomes several entries. `deadline` is
        in seconds of `perf_counter`, `priority` as in model.toml. Raises QueueFull, ShuttingDown, ModelFailed or DeadlineExceeded,
        the last at once if it can be foreseen. If the caller is cancelled, its entries leave the queue.
        """
        if self._closing:
            raise ShuttingDown
        self._admission.refuse_if_full(rows)
        level = self._batching.level(priority)
        in_pieces = rows > self._max_batch_size and self._merge_requests
        answer = (self._answer_in_pieces if in_pieces else self._answer_whole)(inputs, rows, key, level)
        return await (
            answer if deadline is None else self._in_time(answer, deadline, self._admission.expected_seconds(rows, level))
        )

    def refuse_if_full(self, *, rows: int) -> None:
        """Raise QueueFull if `rows` more rows cannot wait."""
        self._admission.refuse_if_full(rows)

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

    async def _in_time(
        self, answer: Coroutine[Any, Any, tuple[list[Array], Timing]], deadline: float, needed: float
    ) -> tuple[list[Array], Timing]:
        """Wait for an answer that needs so many seconds at the least."""
        allowed = deadline - perf_counter()
        if needed > allowed:
            answer.close()
            raise DeadlineExceeded(self._name, timeout=max(0.0, allowed), needed=needed)
        try:
            async with asyncio.timeout(allowed):
                return await answer
        except TimeoutError as error:
            raise DeadlineExceeded(self._name, timeout=allowed) from error

    async def _answer_whole(self, inputs: Sequence[Array], rows: int, key: Hashable, level: int) -> tuple[list[Array], Timing]:
        entry = self._enqueue(inputs, rows, key, level)
        try:
            outputs = await entry.future
        except asyncio.CancelledError:
            self._abandon(entry)
            raise
        return outputs, Timing(entry.queue_seconds, entry.compute_seconds)

    async def _answer_in_pieces(self, inputs: Sequence[Array], rows: int, key: Hashable, level: int) -> tuple[list[Array], Timing]:
        pieces = chunks(inputs, rows, self._max_batch_size)
        entries = [self._enqueue(piece, min(self._max_batch_size, len(piece[0])), key, level) for piece in pieces]
        try:
            outputs = await asyncio.gather(*(entry.future for entry in entries))
        except BaseException:
            for entry in entries:  # one piece failed or the caller left: the others are of no use
                entry.future.cancel()
                self._abandon(entry)
            raise
        timing = Timing(
            queue_seconds=max(entry.queue_seconds for entry in entries),
            compute_seconds=sum(entry.compute_seconds for entry in entries),
        )
        return merge(outputs), timing

    def _enqueue(self, inputs: Sequence[Array], rows: int, key: Hashable, level: int) -> Entry:
        entry = Entry(inputs, rows, key, self._loop.create_future(), level=level, trace=current_trace())
        with self._changing_queue:
            self._queue.append(entry)
        if self._idle and not self._dispatch_scheduled:
            self._schedule_dispatch()
        return entry

    def _schedule_dispatch(self) -> None:
        self._dispatch_scheduled = True
        self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Give idle workers what waits; with a queue delay, leave what is not yet due to a timer."""
        self._dispatch_scheduled = False
        began_at = perf_counter()
        while self._idle and (job := self._next_job()) is not None:
            if not self._is_brief(job.entries):
                self._idle.pop().submit(job)
                continue
            self._resolve(job, self._idle[-1].execute(job, False))
            if perf_counter() - began_at > _TURN_SECONDS:
                self._schedule_dispatch()
                return
        self._note_if_empty()

    def _following(self, done: _Job) -> _Job | None:
        """Return the next batch for a worker that has just done one, on its thread.

        What may have to wait is left to the loop, and so are batches that turn out to be brief.
        """
        waits = self._batching.max_queue_delay and not self._closing
        return None if waits or self._is_brief(done.entries) else self._next_job()

    def _next_job(self) -> _Job | None:
        """Take the next batch out of the queue, if one is due."""
        with self._changing_queue:
            while (due := self._next_due()) is not None:
                head, reason = due
                if entries := self._queue.take(head.key, max_rows=self._merged_rows):
                    return _Job(entries, reason)
        return None

    def _abandon(self, entry: Entry) -> None:
        with self._changing_queue:
            self._queue.abandon(entry)

    def _is_brief(self, entries: Sequence[Entry]) -> bool:
        """Whether handing the batch to a worker would take longer than running it here."""
        if not self._steady:
            return False
        expected = self._cpu_times.known(sum(entry.rows for entry in entries))
        return expected is not None and expected < self._brief_seconds

    def _next_due(self) -> tuple[Entry, str] | None:
        """Return the head of the next batch and why it is to start now; None, with a timer set, if it shall wait."""
        head = self._queue.head()
        if head is None:
            return None
        if self._closing:
            return head, "shutdown"
        delay = self._batching.max_queue_delay
        if delay == 0 or not self._merge_requests:
            full = self._merge_requests and self._queue.rows >= self._merged_rows
            return head, "full" if full else "idle"
        if (full_head := self._queue.full_head(self._merged_rows)) is not None:
            return full_head, "full"
        remaining = head.enqueued_at + delay - perf_counter()
        if remaining <= 0:
            return head, "delay"
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(remaining, self._dispatch)
        return None

    def _finished(self, worker: Worker[_Job, Executed], job: _Job, executed: Executed, idle: bool) -> None:  # noqa: FBT001
        try:
            if idle:
                self._idle.append(worker)
                self._dispatch()  # first the next batch, then the answers: the session is never idle while someone waits
        finally:
            self._resolve(job, executed)
            self._note_if_empty()

    def _note_if_empty(self) -> None:
        if self._closing and not self._queue.rows and len(self._idle) == len(self._workers):
            self._emptied.set()

    def _resolve(self, job: _Job, executed: Executed) -> None:
        for entry, outcome in zip(job.entries, executed.outcomes, strict=True):
            entry.finish(outcome)
        for index, run in enumerate(executed.runs):
            self._observer.ran(run, reason="retry" if index else job.reason)


def _run_job(execution: Execution, job: _Job, beside: bool) -> Executed:  # noqa: FBT001
    return execution(job.entries, beside=beside)
