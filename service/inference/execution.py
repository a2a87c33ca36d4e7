"""Running a batch: merge, pad, run, split; if that fails, its halves. Blocking, and indifferent to the thread it is on."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from time import perf_counter, thread_time
from typing import Any, Final

import msgspec
import numpy as np

from service.errors import ModelFailed
from service.inference.batch import merge, padded, split
from service.inference.entry import Entry
from service.inference.estimate import RunTimes
from service.traces import Trace

Array = np.ndarray[Any, Any]
Run = Callable[[Sequence[Array]], list[Array]]
Outcome = list[Array] | Exception


class RunReport(msgspec.Struct, frozen=True):
    """One call of the model: the rows of requests in it, the rows that only filled it up, and its seconds.

    Of the seconds, `input_seconds` went into putting the inputs together, `output_seconds` into taking the outputs apart. It began
    at `started_at`. `waits` are the seconds that those waited that had not been in a run before. `traced` has the traces of the
    requests in it that are traced, and when each was put into the queue.
    """

    rows: int
    padding: int
    seconds: float
    requests: int = 1
    input_seconds: float = 0.0
    output_seconds: float = 0.0
    failed: bool = False
    started_at: float = 0.0
    waits: Sequence[float] = ()
    traced: Sequence[tuple[Trace, float]] = ()


class Executed(msgspec.Struct, frozen=True):
    """What came of a batch: an outcome for each entry, and the runs that it took."""

    outcomes: list[Outcome]
    runs: list[RunReport]


class Execution:
    """Gives every entry of a batch an outcome, and learns how long runs take.

    `times` learns the seconds of runs, `cpu_times` those in which they kept their thread busy: less where others hold the lock, and
    the same on the thread that holds it, which is not asked, as the answer takes longer than a small run.
    `run` takes one array per input and gives one per output. With `merged` False there is one entry in a batch, and its outputs are
    given as they are. If there are `batch_sizes`, ascending, every run has one of these numbers of rows.
    """

    def __init__(
        self,
        run: Run,
        times: RunTimes,
        cpu_times: RunTimes,
        *,
        name: str,
        version: int,
        merged: bool,
        batch_sizes: Sequence[int] = (),
    ) -> None:
        self._run = run
        self._times = times
        self._cpu_times = cpu_times
        self._name: Final = name
        self._version: Final = version
        self._merged: Final = merged
        self._batch_sizes: Final = batch_sizes if merged else ()

    def __call__(self, entries: Sequence[Entry], *, beside: bool) -> Executed:
        """Run the entries together, on a thread beside the event loop or on its own. Never raises."""
        runs: list[RunReport] = []
        return Executed(self._attempt(entries, runs, beside), runs)

    def _attempt(self, entries: Sequence[Entry], runs: list[RunReport], beside: bool) -> list[Outcome]:  # noqa: FBT001
        """Run the entries together; if that fails, each half by itself, so that in the end only the guilty get the error."""
        outcomes = self._run_together(entries, runs, beside)
        if len(entries) > 1 and isinstance(outcomes[0], Exception):
            half = len(entries) // 2
            return [*self._attempt(entries[:half], runs, beside), *self._attempt(entries[half:], runs, beside)]
        return outcomes

    def _run_together(self, entries: Sequence[Entry], runs: list[RunReport], beside: bool) -> list[Outcome]:  # noqa: FBT001
        rows = [entry.rows for entry in entries]
        total = sum(rows)
        padding = self._padding(total)
        outcomes: list[Outcome]
        failed = False
        started_at = merged_at = ran_at = perf_counter()
        cpu_started_at = thread_time() if beside else 0.0
        try:
            inputs = merge([entry.inputs for entry in entries])
            if padding:
                inputs = padded(inputs, padding)
            merged_at = perf_counter()
            outputs = self._run(inputs)
            ran_at = perf_counter()
            outcomes = list(split(outputs, rows, padding=padding)) if self._merged else [outputs]
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, every caller gets an answer
            failure = ModelFailed(self._name, self._version, str(error) or type(error).__name__)
            failure.__cause__ = error
            outcomes = [failure] * len(rows)
            failed = True
        ended_at = perf_counter()
        seconds = ended_at - started_at
        if not failed:
            self._times.learn(total + padding, seconds)
            self._cpu_times.learn(total + padding, thread_time() - cpu_started_at if beside else seconds)
        times = (0.0, 0.0) if failed else (merged_at - started_at, ended_at - ran_at)
        waits, traced = [], []
        for entry in entries:
            if not entry.compute_seconds:
                entry.queue_seconds = wait = started_at - entry.enqueued_at
                waits.append(wait)
            entry.compute_seconds += seconds
            if entry.trace is not None:
                traced.append((entry.trace, entry.enqueued_at))
        runs.append(RunReport(total, padding, seconds, len(rows), *times, failed, started_at, waits, traced))
        return outcomes

    def _padding(self, rows: int) -> int:
        """Return how many rows are missing to the next allowed size."""
        if not self._batch_sizes:
            return 0
        return self._batch_sizes[bisect_left(self._batch_sizes, rows)] - rows
