"""The outputs of a model against the truth, by its task: an Evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.repository.metrics import Task
from training.errors import DatasetError
from training.evaluation import classification, regression
from training.evaluation.bootstrap import measure
from training.evaluation.result import Evaluation
from training.evaluation.slicing import slice_rows

Array = np.ndarray[Any, Any]


def evaluate(
    task: Task,
    outputs: Array,
    targets: Array,
    *,
    seed: int,
    labels: Sequence[str] = (),
    units: Sequence[str] = (),
    inputs: Mapping[str, Array] | None = None,
    features: Mapping[str, Sequence[str]] | None = None,
) -> Evaluation:
    """Compare `outputs` with `targets`; the first axis of both, and of each of `inputs`, counts the same rows.

    Classification: outputs [rows, labels] of probabilities (or [rows, 1], of the second label), targets int64 [rows]. Regression:
    both [rows] or [rows, n], in `units`, called `labels`. Reconstruction: both of any equal shape. `inputs` are the raw ones, for
    the slices, and `features` the names of their columns. Raises DatasetError if there are no rows.
    """
    if not len(targets):
        raise DatasetError("There are no rows to evaluate; expected at least one. Raise dataset.test_fraction.")
    slicing = (inputs or {}, features or {})
    if task == "classification":
        return _classification(outputs, targets, tuple(labels), slicing, seed)
    if task == "regression":
        return _regression(outputs, targets, tuple(labels), tuple(units), slicing, seed)
    return _reconstruction(outputs, targets, slicing, seed)


Slicing = tuple[Mapping[str, Array], Mapping[str, Sequence[str]]]


def _classification(outputs: Array, targets: Array, labels: tuple[str, ...], slicing: Slicing, seed: int) -> Evaluation:
    probabilities = classification.as_probabilities(outputs, len(labels))
    labels = labels or tuple(str(index) for index in range(probabilities.shape[1]))
    predicted = probabilities.argmax(axis=1)
    metrics, intervals = measure(classification.statistics_of(probabilities, targets), len(targets), seed=seed)
    hits = (predicted == targets).astype(np.float64)
    return Evaluation(
        task="classification",
        rows=len(targets),
        metrics=metrics,
        intervals=intervals,
        labels=labels,
        confusion=classification.confusion(predicted, targets, len(labels)),
        classes=classification.class_results(predicted, targets, labels),
        calibration=classification.calibration(probabilities, targets),
        slices=slice_rows(*slicing, hits, "accuracy", higher_is_better=True),
    )


def _regression(
    outputs: Array, targets: Array, labels: tuple[str, ...], units: tuple[str, ...], slicing: Slicing, seed: int
) -> Evaluation:
    predicted, actual = regression.columns(outputs), regression.columns(targets)
    count = actual.shape[1]
    names = labels or tuple(f"target {index}" if count > 1 else "target" for index in range(count))
    error = predicted - actual
    metrics, intervals = measure(regression.statistics_of(predicted, actual, names), len(actual), seed=seed)
    summaries = zip(error.T, names, units or ("",) * count, strict=True)
    return Evaluation(
        task="regression",
        rows=len(actual),
        metrics=metrics,
        intervals=intervals,
        labels=names,
        residuals=tuple(regression.residuals(values, name, unit) for values, name, unit in summaries),
        slices=slice_rows(*slicing, np.abs(error).mean(axis=1), "mae", higher_is_better=False),
    )


def _reconstruction(outputs: Array, targets: Array, slicing: Slicing, seed: int) -> Evaluation:
    predicted, actual = regression.columns(outputs), regression.columns(targets)
    metrics, intervals = measure(regression.reconstruction_statistics(predicted, actual), len(actual), seed=seed)
    of_rows = np.sqrt(((predicted - actual) ** 2).mean(axis=1))
    return Evaluation(
        task="reconstruction",
        rows=len(actual),
        metrics=metrics,
        intervals=intervals,
        residuals=(regression.residuals(of_rows, "error of a row", ""),),
        slices=slice_rows(*slicing, np.abs(predicted - actual).mean(axis=1), "mae", higher_is_better=False),
    )
