"""Where a model is weak: its figure for the rows that share a value, or a quarter of the range, of one feature."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from training.evaluation.result import Interval, Slice, Slices

Array = np.ndarray[Any, Any]
Figure = Callable[[Array], tuple[float, Interval]]

_FEWEST_ROWS: Final = 10
_MOST_CATEGORIES: Final = 12
_MOST_COLUMNS: Final = 128
_Z: Final = 1.959964  # 95% of a normal distribution


def slice_rows(
    inputs: Mapping[str, Array], features: Mapping[str, Sequence[str]], scores: Array, metric: str, *, higher_is_better: bool
) -> Slices:
    """Measure the mean of `scores` [rows] (hits, or errors) in every slice of at least 10 rows, the worst first.

    A text or a number with at most 12 values is sliced by value, any other number by quartile; missing values are a slice of
    their own. A picture counts by its mean, a row of token ids by its length. `features` names the columns of an input.
    """
    figure = _share if higher_is_better else _mean
    overall = float(scores.mean())
    found = []
    for feature, values in _columns(inputs, features):
        for value, inside in _parts(values):
            if _FEWEST_ROWS <= (rows := int(inside.sum())) < len(scores):
                level, (low, high) = figure(scores[inside])
                worse = high < overall if higher_is_better else low > overall
                found.append(Slice(feature, value, rows, _short(level), (_short(low), _short(high)), worse=worse))
    found.sort(key=lambda part: (part.figure if higher_is_better else -part.figure, -part.rows))
    return Slices(metric, _short(overall), tuple(found))


def _columns(inputs: Mapping[str, Array], features: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Array]]:
    for name, array in inputs.items():
        if array.ndim == 1:
            yield name, array
        elif array.ndim > 2:  # noqa: PLR2004 -- more than rows and columns: a picture or a series
            yield f"mean of {name}", array.reshape(len(array), -1).mean(axis=1, dtype=np.float64)
        elif array.dtype.kind in "iu":
            yield f"length of {name}", (array != 0).sum(axis=1)
        elif array.shape[1] <= _MOST_COLUMNS:
            names = features.get(name) or [f"{name}[{i}]" for i in range(array.shape[1])]
            yield from zip(names, array.T, strict=True)


def _parts(values: Array) -> Iterator[tuple[str, Array]]:
    """Yield what each part is called, and which rows are in it."""
    if values.dtype.kind in "OSU":
        text = values.astype(str)
        yield from _categories(text, text == "")
        return
    numbers = values.astype(np.float64)
    missing = np.isnan(numbers)
    if len(np.unique(numbers[~missing])) <= _MOST_CATEGORIES:
        yield from _categories(numbers, missing)
        return
    if missing.any():
        yield "missing", missing
    edges = np.unique(np.quantile(numbers[~missing], [0, 0.25, 0.5, 0.75, 1]))
    for number, (low, high) in enumerate(pairwise(edges)):
        above = numbers >= low if number == 0 else numbers > low
        yield f"{low:.4g} to {high:.4g}", above & (numbers <= high)


def _categories(values: Array, missing: Array) -> Iterator[tuple[str, Array]]:
    """Yield the most frequent values, and the missing ones."""
    if missing.any():
        yield "missing", missing
    distinct, counts = np.unique(values[~missing], return_counts=True)
    for value in distinct[np.argsort(-counts, kind="stable")][:_MOST_CATEGORIES]:
        yield (f"{value:g}" if isinstance(value, float) else str(value)), values == value


def _share(hits: Array) -> tuple[float, Interval]:
    """Return a share and its Wilson interval (1927), which holds for few rows and near 0 and 1."""
    rows, share = len(hits), float(hits.mean())
    centre = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    reach = _Z / (1 + _Z**2 / rows) * np.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    return share, (float(centre - reach), float(centre + reach))


def _mean(errors: Array) -> tuple[float, Interval]:
    reach = _Z * float(errors.std(ddof=1)) / np.sqrt(len(errors))
    level = float(errors.mean())
    return level, (level - reach, level + reach)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
