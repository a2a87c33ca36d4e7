"""What an evaluation found. Plain values, so that it can be written into a manifest or drawn."""

from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct

from service.repository.metrics import Task

Interval = tuple[float, float]
Figure = TypeVar("Figure")


class ClassResult(Struct, frozen=True):
    """One label: rows that have it, the share of its predictions that are right, the share of its rows that are found, F1."""

    label: str
    rows: int
    precision: float
    recall: float
    f1: float


class CalibrationBin(Struct, frozen=True):
    """Rows whose top probability lies in [low, high): the mean of that probability, and the share predicted rightly."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


class Residuals(Struct, frozen=True):
    """How `predicted - actual` of one output is distributed, in `unit`; quantiles by percent (1, 5, 25, 50, 75, 95, 99).

    For a reconstruction: how the root mean squared error of a row is.
    """

    name: str
    unit: str
    mean: float
    std: float
    quantiles: dict[int, float]


class Slice(Struct, frozen=True):
    """Rows that share a value or a range of one feature: how well the model does there, with a 95% interval.

    `worse` says that the whole interval is on the bad side of the figure for all rows.
    """

    feature: str
    value: str
    rows: int
    figure: float
    interval: Interval
    worse: bool


class Slices(Struct, frozen=True):
    """The slices, the worst first. `metric` is accuracy, or the mean absolute error of a row in the target's unit."""

    metric: str = ""
    overall: float = 0.0
    rows: tuple[Slice, ...] = ()


class Evaluation(Struct, frozen=True, kw_only=True):
    """How good a model is on rows it was not fitted to.

    `metrics` has the names of service.repository.metrics, and with several regression targets `<metric>.<target>` beside them; one
    that is not defined for these rows (ROC AUC with one class) is left out. `intervals` are 95% bootstrap intervals of them.
    `confusion[i][j]` counts rows of label i that were predicted as j; it is empty for more than 64 labels.
    """

    task: Task
    rows: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    classes: tuple[ClassResult, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    residuals: tuple[Residuals, ...] = ()
    slices: Slices = Slices()


def metrics_of(evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    """Return the metrics of all outputs, by the names that they have in a manifest."""
    return _named({output: evaluation.metrics for output, evaluation in evaluations.items()})


def intervals_of(evaluations: Mapping[str, Evaluation]) -> dict[str, Interval]:
    """Return the intervals of all outputs' metrics, by the names that these have in a manifest."""
    return _named({output: evaluation.intervals for output, evaluation in evaluations.items()})


def metric_of(name: str, output: str) -> str:
    """Return the manifest's name for a metric of one of several outputs, `<metric>.<output>`; "" is the only output.

    A regression of several values has `<metric>.<output>.<value>` besides.
    """
    metric, dot, value = name.partition(".")
    return f"{metric}.{output}{dot}{value}" if output else name


def _named(figures: Mapping[str, Mapping[str, Figure]]) -> dict[str, Figure]:
    several = len(figures) > 1
    return {metric_of(name, output if several else ""): value for output, found in figures.items() for name, value in found.items()}
