"""The rate limit of one caller: a token bucket."""

from collections.abc import Callable
from typing import Final

_ROUNDING: Final = 1e-6  # seconds; a clock that counts from the start of the machine is that exact for 100 years


class Bucket:
    """Lets `burst` requests through at once and `rate` a second in the long run.

    It keeps one number, the time at which the bucket will be full again, instead of a fill level and when that was true
    (the generic cell rate algorithm of ITU-T I.371): so there is nothing to refill, and the time to wait is exact.
    """

    def __init__(self, rate: float, burst: int, *, clock: Callable[[], float]) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._interval = 1.0 / rate
        self._tolerance = self._interval * (burst - 1)
        self._full_at = clock()

    def take(self) -> float:
        """Take one token and return 0.0; if there is none, take nothing and return the seconds until there is one."""
        now = self._clock()
        full_at = max(self._full_at, now)
        wait = full_at - self._tolerance - now
        if wait > _ROUNDING:
            return wait
        self._full_at = full_at + self._interval
        return 0.0
