"""Who may join a queue, and how long it takes from there.

As many rows may wait as model.toml says. Where it says nothing, it is what can be run before callers give up: HTTP clients and
proxies wait for half a minute or a minute, and who is refused at once can ask elsewhere.
"""

import math
from typing import Final

from service.errors import QueueFull
from service.inference.estimate import RunTimes
from service.inference.queue import EntryQueue
from service.repository.configuration import Batching

_PATIENCE: Final = 30.0  # seconds that a caller waits
_LEAST: Final = 32  # that may wait however long a run takes: those of a few callers
_MOST: Final = 4096  # however short a run; they are in memory
_MOST_RETRY_SECONDS: Final = 60  # what a refused client is asked to wait at the most


class Admission:
    """Knows by the `times` of earlier runs what is ahead of a row in the `queue` of a model.

    `sessions` run at once, up to `merged_rows` rows a run; None if every request is a run of its own, whatever its rows.
    """

    def __init__(
        self, name: str, batching: Batching, queue: EntryQueue, times: RunTimes, *, sessions: int, merged_rows: int | None
    ) -> None:
        self._name: Final = name
        self._batching: Final = batching
        self._queue = queue
        self._times = times
        self._sessions: Final = sessions
        self._merged_rows: Final = merged_rows
        self._counts_rows: Final = batching.max_queue_size > 0 or merged_rows is not None
        self._certain: Final = batching.max_queue_size or _LEAST

    @property
    def max_queue_size(self) -> int:
        """How many rows may wait now; where every request is a run of its own and model.toml says nothing, how many requests."""
        if self._batching.max_queue_size:
            return self._batching.max_queue_size
        each = self._times.of_a_run() if self._merged_rows is None else self._times.of_a_row(self._merged_rows)
        seconds = each / self._sessions
        return _MOST if seconds * _MOST <= _PATIENCE else max(_LEAST, int(_PATIENCE / seconds))

    def refuse_if_full(self, rows: int) -> None:
        """Raise QueueFull if `rows` more rows cannot wait. When nothing waits, any number can: they would never find more room."""
        if self._counts_rows:
            waiting, more = self._queue.rows, rows
        else:
            waiting, more = self._queue.entries, 1
        if not waiting or waiting + more <= self._certain or waiting + more <= (most := self.max_queue_size):
            return
        seconds = self.expected_seconds(0, self._batching.priority_levels)
        retry_after = min(_MOST_RETRY_SECONDS, max(1, math.ceil(seconds)))
        raise QueueFull(self._name, most, "rows" if self._counts_rows else "requests", retry_after=retry_after)

    def expected_seconds(self, rows: int, level: int) -> float:
        """Return in how many seconds `rows` rows of a level that come now would be done at the earliest.

        What runs now is left out of it: how far it has come is not known.
        """
        if self._merged_rows is None:
            return self._times.at_least(rows) * (1 + self._queue.entries // self._sessions)
        ahead = self._queue.rows_before(level)
        return self._times.until_done(rows, ahead=ahead, max_batch_size=self._merged_rows, sessions=self._sessions)
