"""How long runs take by experience, and from that how long a request will wait."""

import math
from typing import Final

_FORGETTING: Final = 16


class RunTimes:
    """Learns the seconds of runs, kept for each power of two of rows.

    Follows shorter runs at once and longer ones slowly: noise only adds time. So what it expects is what a quiet machine needs,
    and who is refused for want of time could not have been served. May be asked on one thread while others learn.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def learn(self, rows: int, seconds: float) -> None:
        """Note a run that worked."""
        size = rows.bit_length()
        known = self._seconds.get(size, seconds)
        self._seconds[size] = min(seconds, known + (seconds - known) / _FORGETTING)

    def known(self, rows: int) -> float | None:
        """Return the seconds of a run of about `rows` rows; None without experience."""
        return self._seconds.get(rows.bit_length())

    def at_least(self, rows: int) -> float:
        """Return the seconds that a run of `rows` rows takes at the least: those of fewer rows if its own are not known."""
        smaller = [size for size in tuple(self._seconds) if size <= rows.bit_length()]
        return self._seconds[max(smaller)] if smaller else 0.0

    def of_a_run(self) -> float:
        """Return the seconds of the shortest runs; 0 without experience."""
        return min(tuple(self._seconds.values()), default=0.0)

    def of_a_row(self, largest: int) -> float:
        """Return the seconds of a row in the runs of up to `largest` rows that take least for one; 0 without experience."""
        sizes = [size for size in tuple(self._seconds) if size <= largest.bit_length()]
        return min((self._seconds[size] / (1 << max(size - 1, 0)) for size in sizes), default=0.0)

    def until_done(self, rows: int, *, ahead: int, max_batch_size: int, sessions: int) -> float:
        """Return the seconds in which `sessions` idle sessions have run `ahead` rows and then `rows` more, in full batches."""
        full, rest = divmod(ahead + rows, max_batch_size)
        if not rest:
            full, rest = full - 1, max_batch_size
        return math.ceil(full / sessions) * self.at_least(max_batch_size) + self.at_least(rest)
