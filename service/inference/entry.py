"""One piece of work that waits in the batcher's queue, and what is known of it when it is done."""

import asyncio
from collections.abc import Hashable, Sequence
from time import perf_counter
from typing import Any, Final

import numpy as np

from service.traces import Trace

Array = np.ndarray[Any, Any]


class Entry:
    """Inputs of `rows` rows, the caller's future, and the times of its way: all in seconds of `perf_counter`.

    Entries with equal `key` may share a run; those of a lower `level` come first. An entry resolves itself, so no one else has to
    remember that a caller may have left. `trace` is that of the caller, if it is traced.
    """

    __slots__ = (
        "compute_seconds",
        "enqueued_at",
        "future",
        "inputs",
        "key",
        "level",
        "queue_seconds",
        "rows",
        "takes_room",
        "trace",
    )

    def __init__(
        self,
        inputs: Sequence[Array],
        rows: int,
        key: Hashable,
        future: asyncio.Future[list[Array]],
        *,
        level: int = 0,
        trace: Trace | None = None,
    ) -> None:
        self.inputs: Final = inputs
        self.rows: Final = rows
        self.key: Final = key
        self.future: Final = future
        self.level: Final = level
        self.trace: Final = trace
        self.enqueued_at: Final = perf_counter()
        self.queue_seconds = 0.0
        self.compute_seconds = 0.0
        self.takes_room = False

    @property
    def abandoned(self) -> bool:
        """Whether no one waits for the result any more."""
        return self.future.done()

    def finish(self, outcome: list[Array] | Exception) -> None:
        """Hand the outcome to the caller, if it still waits."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)
