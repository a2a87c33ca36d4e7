"""A classifier's probabilities against the labels."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from training.evaluation.bootstrap import Groups, Statistics
from training.evaluation.result import CalibrationBin, ClassResult

Array = np.ndarray[Any, Any]

_BINS: Final = 10
_TOP: Final = 5
_MOST_LABELS_DRAWN: Final = 64


def as_probabilities(outputs: Array, labels: int) -> Array:
    """Return float64 [rows, labels]; a single sigmoid output [rows] or [rows, 1] is the probability of the second of two labels."""
    probabilities = outputs.reshape(len(outputs), -1).astype(np.float64)
    if probabilities.shape[1] == 1 and labels in {0, 2}:
        return np.hstack([1 - probabilities, probabilities])
    return probabilities


def statistics_of(probabilities: Array, targets: Array) -> Statistics:
    """Return the metrics as functions of row weights; `probabilities` [rows, labels], `targets` label indices [rows].

    Log loss is in nats. The Brier score is the mean of (p - y)^2 of the second label for two labels (0 to 1), else the sum over the
    labels (0 to 2). The calibration error is the expected one (Naeini et al., 2015), of the predicted label in 10 equal bins.
    """
    labels = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    hits = (predicted == targets).astype(np.float64)
    means = _row_means(probabilities, targets, hits)
    by_target, by_prediction = Groups(targets, labels), Groups(predicted, labels)
    by_bin, gap = Groups(_bins(probabilities), _BINS), hits - probabilities.max(axis=1)
    ranking = _Ranking(probabilities[:, 1], targets) if labels == 2 else None  # noqa: PLR2004 -- two labels

    def statistics(weights: Array) -> dict[str, Array]:
        total = weights.sum(axis=1)
        actual, claimed = by_target.sums(weights), by_prediction.sums(weights)
        found = by_target.sums(weights * hits)
        values = {name: weights @ rows / total for name, rows in means.items()}
        values["balanced_accuracy"] = _mean_of_ratios(found, actual)
        values["macro_f1"] = _mean_of_ratios(2 * found, actual + claimed)
        values["calibration_error"] = np.abs(by_bin.sums(weights * gap)).sum(axis=1) / total
        return values | (ranking.areas(weights) if ranking else {})

    return statistics


def confusion(predicted: Array, targets: Array, labels: int) -> tuple[tuple[int, ...], ...]:
    """Count the rows by actual (first index) and predicted label; nothing for more than 64 labels, which nobody can read."""
    if labels > _MOST_LABELS_DRAWN:
        return ()
    counts = np.bincount(targets * labels + predicted, minlength=labels * labels).reshape(labels, labels)
    return tuple(tuple(row) for row in counts.tolist())


def class_results(predicted: Array, targets: Array, labels: Sequence[str]) -> tuple[ClassResult, ...]:
    """Return precision, recall and F1 of each label, 0 where they are not defined."""
    size = len(labels)
    actual, claimed = np.bincount(targets, minlength=size), np.bincount(predicted, minlength=size)
    found = np.bincount(targets[predicted == targets], minlength=size)
    precision, recall, f1 = (
        found / np.maximum(claimed, 1),
        found / np.maximum(actual, 1),
        2 * found / np.maximum(actual + claimed, 1),
    )
    return tuple(
        ClassResult(label, int(actual[i]), round(float(precision[i]), 6), round(float(recall[i]), 6), round(float(f1[i]), 6))
        for i, label in enumerate(labels)
    )


def calibration(probabilities: Array, targets: Array) -> tuple[CalibrationBin, ...]:
    """Return the bins of the calibration curve that hold rows."""
    bins, confidence = _bins(probabilities), probabilities.max(axis=1)
    hits = probabilities.argmax(axis=1) == targets
    return tuple(
        CalibrationBin(
            low=number / _BINS,
            high=(number + 1) / _BINS,
            rows=int(inside.sum()),
            confidence=round(float(confidence[inside].mean()), 6),
            accuracy=round(float(hits[inside].mean()), 6),
        )
        for number in range(_BINS)
        if (inside := bins == number).any()
    )


class _Ranking:
    """Scores with their ties in order, for the areas under the ROC curve and the precision-recall curve."""

    def __init__(self, scores: Array, targets: Array) -> None:
        distinct, numbers = np.unique(scores, return_inverse=True)
        self._groups = Groups(numbers, len(distinct))
        self._positive = (targets == 1).astype(np.float64)

    def areas(self, weights: Array) -> dict[str, Array]:
        """Return both areas by draw: ROC with half a point for a tie (Mann-Whitney), and average precision; NaN with one class."""
        positive = self._groups.sums(weights * self._positive)
        negative = self._groups.sums(weights * (1 - self._positive))
        positives, negatives = positive.sum(axis=1), negative.sum(axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        found = np.cumsum(positive[:, ::-1], axis=1)
        claimed = found + np.cumsum(negative[:, ::-1], axis=1)
        precision = found / np.maximum(claimed, 1)
        return {
            "roc_auc": _ratio((positive * below).sum(axis=1), positives * negatives),
            "pr_auc": _ratio((positive[:, ::-1] * precision).sum(axis=1), positives),
        }


def _row_means(probabilities: Array, targets: Array, hits: Array) -> dict[str, Array]:
    """Return the metrics that are means over the rows, as values [rows]."""
    of_truth = probabilities[np.arange(len(targets)), targets]
    squares = (probabilities**2).sum(axis=1) - 2 * of_truth + 1
    if probabilities.shape[1] == 2:  # noqa: PLR2004 -- two labels
        squares = (probabilities[:, 1] - targets) ** 2
    means = {"accuracy": hits, "log_loss": -np.log(np.clip(of_truth, np.finfo(np.float32).tiny, 1.0)), "brier": squares}
    if probabilities.shape[1] > _TOP:
        means[f"top_{_TOP}_accuracy"] = ((probabilities > of_truth[:, None]).sum(axis=1) < _TOP).astype(np.float64)
    return means


def _bins(probabilities: Array) -> Array:
    numbers: Array = np.clip(np.nan_to_num(probabilities.max(axis=1)) * _BINS, 0, _BINS - 1).astype(np.int64)
    return numbers


def _mean_of_ratios(above: Array, below: Array) -> Array:
    """Average above/below [draws, labels] over the labels that occur."""
    present = below > 0
    ratios = np.divide(above, below, out=np.zeros_like(above), where=present)
    return _ratio(ratios.sum(axis=1), present.sum(axis=1))


def _ratio(above: Array, below: Array) -> Array:
    ratio: Array = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return ratio
