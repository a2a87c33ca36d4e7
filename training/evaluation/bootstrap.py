"""Bootstrap intervals (Efron, 1979): what the metrics would be had other test rows been drawn from the same source.

A statistic is a function of row weights [draws, rows] to its values [draws]: with weights of one it gives the figure itself, with
the counts of rows drawn with replacement its bootstrap distribution. So each metric is written once, for all draws at a time.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from training.evaluation.result import Interval

Array = np.ndarray[Any, Any]
Statistics = Callable[[Array], dict[str, Array]]

_MOST_DRAWS: Final = 1000
_FEWEST_DRAWS: Final = 200
_MOST_WEIGHTS: Final = 5_000_000  # about half a second of work
_BLOCK: Final = 250_000  # weights held at a time: 2 MB, what a core caches
_TAILS: Final = (0.025, 0.975)


class Groups:
    """Rows by the number of their group, to sum weights by group."""

    def __init__(self, numbers: Array, count: int) -> None:
        self._order = np.argsort(numbers, kind="stable")
        self._present, self._starts = np.unique(numbers[self._order], return_index=True)
        self._count = count

    def sums(self, weights: Array) -> Array:
        """Sum weights [draws, rows] to [draws, groups]."""
        totals = np.zeros((len(weights), self._count))
        if len(self._present):
            totals[:, self._present] = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        return totals


def measure(statistics: Statistics, rows: int, *, seed: int) -> tuple[dict[str, float], dict[str, Interval]]:
    """Return each statistic of all rows, and its 95% percentile interval; those that are not finite are left out.

    1000 draws, fewer (at least 200) for more than 5,000 rows. The same seed gives the same intervals.
    """
    figures = {name: float(values[0]) for name, values in statistics(np.ones((1, rows))).items()}
    finite = {name: _short(value) for name, value in figures.items() if np.isfinite(value)}
    drawn: dict[str, list[Array]] = {name: [] for name in finite}
    for weights in _draws(rows, np.random.default_rng(seed)):
        for name, values in statistics(weights).items():
            if name in drawn:
                drawn[name].append(values)
    return finite, {name: _interval(np.concatenate(values)) for name, values in drawn.items()}


def _draws(rows: int, generator: np.random.Generator) -> Iterator[Array]:
    """Yield blocks of weights [draws, rows]: how often each row came when `rows` rows were drawn with replacement."""
    left = int(np.clip(_MOST_WEIGHTS // rows, _FEWEST_DRAWS, _MOST_DRAWS))
    while left:
        draws = min(left, max(1, _BLOCK // rows))
        chosen = generator.integers(rows, size=(draws, rows)) + np.arange(draws)[:, None] * rows
        yield np.bincount(chosen.ravel(), minlength=draws * rows).reshape(draws, rows).astype(np.float64)
        left -= draws


def _interval(values: Array) -> Interval:
    low, high = np.quantile(values[np.isfinite(values)], _TAILS)
    return _short(low), _short(high)


def _short(value: float) -> float:
    """Six significant digits: more would be noise."""
    return float(f"{value:.6g}")
