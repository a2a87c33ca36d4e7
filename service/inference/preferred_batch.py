"""How many rows a run should have: as few as give nearly the best throughput, measured on the machine that serves.

More rows in a run than that gain nothing and make everyone in it wait for all: on a CPU the time of a row stops falling as soon as
the fixed costs of a run are spread thin, and rises again when a batch outgrows the caches.
"""

from collections.abc import Callable
from itertools import takewhile
from math import inf
from time import perf_counter
from typing import Final

_NEARLY: Final = 1.04  # times the best seconds of a row: what a measurement on a busy machine can still tell apart
_BRIEF: Final = 0.1  # seconds of a run up to which larger ones are tried even if they do not seem to pay
_PATIENCE: Final = 3.0  # seconds after which nothing larger is tried: if it still pays, it is taken to go on like that
_BUDGET: Final = 0.25  # seconds in which the sizes are tried again
_ROUNDS: Final = 20
_DOUBTS: Final = 2  # times that a run is done again which is not brief and does not seem to pay
_BESIDE: Final = 80e-6  # seconds that a run costs beside the graph: to put it together, take it apart, count it, go round the loop


def preferred_rows(run: Callable[[int], object], largest: int, *, clock: Callable[[], float] = perf_counter) -> int:
    """Return the least of the powers of two up to `largest`, and of `largest`, whose seconds for a row are nearly the least.

    `run` runs so many rows; it is called several times for each, in turns, so that a busy moment of the machine hits all alike.
    """
    began_at = clock()
    best: dict[int, float] = {}
    of_a_row = inf
    for rows in _sizes(largest):
        if clock() - began_at > _PATIENCE:
            return largest
        run(rows)  # the first run of a size is not like the others
        best[rows] = _seconds(run, rows, clock)
        for _ in range(_DOUBTS):
            if best[rows] <= _BRIEF or _of_a_row(rows, best[rows]) * _NEARLY < of_a_row:
                break
            best[rows] = min(best[rows], _seconds(run, rows, clock))
        else:
            break  # it does not pay, and that was no busy moment
        of_a_row = min(of_a_row, _of_a_row(rows, best[rows]))
    for _ in range(_ROUNDS - 1):
        for rows in takewhile(lambda _: clock() - began_at < _BUDGET, best):
            best[rows] = min(best[rows], _seconds(run, rows, clock))
    found = {rows: _of_a_row(rows, seconds) for rows, seconds in best.items()}
    return next(rows for rows, seconds in found.items() if seconds <= _NEARLY * min(found.values()))


def _sizes(largest: int) -> list[int]:
    """Return the sizes to try, ascending."""
    powers = [1 << exponent for exponent in range(largest.bit_length()) if 1 << exponent < largest]
    return [*powers, largest]


def _seconds(run: Callable[[int], object], rows: int, clock: Callable[[], float]) -> float:
    started_at = clock()
    run(rows)
    return clock() - started_at


def _of_a_row(rows: int, seconds: float) -> float:
    return (seconds + _BESIDE) / rows
