"""Running a batch: merge, run, split; if that fails, each entry alone. Blocking, and indifferent to the thread it is on."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final

import numpy as np

from service.errors import ModelFailed
from service.inference.batch import merge, split
from service.inference.entry import Entry

Array = np.ndarray[Any, Any]
Run = Callable[[Sequence[Array]], list[Array]]
Outcome = list[Array] | Exception

_FORGETTING: Final = 16


class Execution:
    """Gives every entry of a batch an outcome, and learns how long runs take.

    `run` takes one array per input and gives one per output. With `merged` False there is one entry in a batch, and its outputs are
    given as they are.
    """

    def __init__(self, run: Run, *, name: str, version: int, merged: bool) -> None:
        self._run = run
        self._name: Final = name
        self._version: Final = version
        self._merged: Final = merged
        self._seconds: dict[int, float] = {}

    def __call__(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Run the entries together; if that fails, each alone, so that only the guilty one gets the error. Never raises."""
        outcomes = self._run_together(entries)
        if len(entries) > 1 and isinstance(outcomes[0], Exception):
            return [self._run_together([entry])[0] for entry in entries]
        return outcomes

    def expected_seconds(self, rows: int) -> float | None:
        """Return how long a run of about `rows` rows takes by experience; None without any.

        Kept for each power of two. Follows shorter runs at once and longer ones slowly: noise only adds time.
        """
        return self._seconds.get(rows.bit_length())

    def _run_together(self, entries: Sequence[Entry]) -> list[Outcome]:
        rows = [entry.rows for entry in entries]
        outcomes: list[Outcome]
        started_at = perf_counter()
        try:
            outputs = self._run(merge([entry.inputs for entry in entries]))
            outcomes = list(split(outputs, rows)) if self._merged else [outputs]
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, every caller gets an answer
            failure = ModelFailed(self._name, self._version, str(error) or type(error).__name__)
            failure.__cause__ = error
            outcomes = [failure] * len(rows)
        seconds = perf_counter() - started_at
        total = sum(rows)
        self._learn(total, seconds)
        for entry in entries:
            entry.queue_seconds = started_at - entry.enqueued_at
            entry.compute_seconds = seconds
        return outcomes

    def _learn(self, rows: int, seconds: float) -> None:
        size = rows.bit_length()
        known = self._seconds.get(size, seconds)
        self._seconds[size] = min(seconds, known + (seconds - known) / _FORGETTING)
