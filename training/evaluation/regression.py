"""Predicted numbers against the true ones, and reconstructions against their originals."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from training.evaluation.bootstrap import Statistics
from training.evaluation.result import Residuals

Array = np.ndarray[Any, Any]

_PERCENTS: Final = (1, 5, 25, 50, 75, 95, 99)


def columns(values: Array) -> Array:
    """Return [rows, targets] float64 of [rows] or [rows, targets]."""
    return values.reshape(len(values), -1).astype(np.float64)


def statistics_of(predicted: Array, actual: Array, names: Sequence[str]) -> Statistics:
    """Return MAE, RMSE, R2 and median absolute error as functions of row weights, of [rows, targets] in the targets' units.

    With several targets each has its own, as `rmse.<target>`, and the plain name is their mean.
    """
    parts = [_single(predicted[:, i] - actual[:, i], actual[:, i]) for i in range(actual.shape[1])]
    if len(parts) == 1:
        return parts[0]

    def statistics(weights: Array) -> dict[str, Array]:
        found = [part(weights) for part in parts]
        means = {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}
        return means | {f"{name}.{target}": one[name] for target, one in zip(names, found, strict=True) for name in one}

    return statistics


def reconstruction_statistics(predicted: Array, actual: Array) -> Statistics:
    """Return MAE and RMSE over all values of [rows, values]."""
    absolute, squares = np.abs(predicted - actual).mean(axis=1), ((predicted - actual) ** 2).mean(axis=1)

    def statistics(weights: Array) -> dict[str, Array]:
        total = weights.sum(axis=1)
        return {"mae": weights @ absolute / total, "rmse": np.sqrt(weights @ squares / total)}

    return statistics


def residuals(values: Array, name: str, unit: str) -> Residuals:
    """Summarise errors [rows]."""
    return Residuals(
        name=name,
        unit=unit,
        mean=_short(values.mean()),
        std=_short(values.std()),
        quantiles={percent: _short(value) for percent, value in zip(_PERCENTS, np.percentile(values, _PERCENTS), strict=True)},
    )


def _single(error: Array, actual: Array) -> Callable[[Array], dict[str, Array]]:
    absolute, centred = np.abs(error), actual - actual.mean()
    order = np.argsort(absolute)

    def statistics(weights: Array) -> dict[str, Array]:
        total = weights.sum(axis=1)
        squares = weights @ error**2
        spread = weights @ centred**2 - (weights @ centred) ** 2 / total
        explained = np.divide(squares, spread, out=np.full(len(total), np.nan), where=spread > 0)
        return {
            "mae": weights @ absolute / total,
            "rmse": np.sqrt(squares / total),
            "r2": 1 - explained,
            "median_absolute_error": _median(absolute[order], weights[:, order]),
        }

    return statistics


def _median(ascending: Array, weights: Array) -> Array:
    """Return the weighted median by draw; the mean of both middle values where the middle lies between two rows."""
    passed = np.cumsum(weights, axis=1)
    half = passed[:, -1:] / 2
    low, high = ascending[(passed >= half).argmax(axis=1)], ascending[(passed > half).argmax(axis=1)]
    middle: Array = (low + high) / 2
    return middle


def _short(value: float) -> float:
    return float(f"{value:.6g}")
