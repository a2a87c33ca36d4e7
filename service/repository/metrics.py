"""The metrics of a manifest by name: what each is called, which way is better, and which one stands for a model of its task."""

from typing import Final, Literal

import msgspec

Task = Literal["classification", "regression", "reconstruction"]


class Metric(msgspec.Struct, frozen=True):
    """`higher_is_better` gives the direction; `title` is the name in a sentence."""

    title: str
    higher_is_better: bool


METRICS: Final[dict[str, Metric]] = {
    "accuracy": Metric("accuracy", higher_is_better=True),
    "balanced_accuracy": Metric("balanced accuracy", higher_is_better=True),
    "macro_f1": Metric("macro F1", higher_is_better=True),
    "roc_auc": Metric("ROC AUC", higher_is_better=True),
    "pr_auc": Metric("PR AUC", higher_is_better=True),
    "top_5_accuracy": Metric("top-5 accuracy", higher_is_better=True),
    "r2": Metric("R²", higher_is_better=True),
    "log_loss": Metric("log loss", higher_is_better=False),
    "brier": Metric("Brier score", higher_is_better=False),
    "calibration_error": Metric("calibration error", higher_is_better=False),
    "mae": Metric("mean absolute error", higher_is_better=False),
    "rmse": Metric("root mean squared error", higher_is_better=False),
    "median_absolute_error": Metric("median absolute error", higher_is_better=False),
}

KEY_METRIC: Final[dict[str, str]] = {"classification": "accuracy", "regression": "rmse", "reconstruction": "rmse"}


def improvement(name: str, before: float, after: float) -> float:
    """Return by how much `after` is better than `before`: positive is better, whichever way the metric runs.

    A metric that is not in METRICS counts as one where higher is better.
    """
    known = name.partition(".")[0] in METRICS
    return after - before if not known or metric_named(name).higher_is_better else before - after


def metric_named(name: str) -> Metric:
    """Return the metric of a manifest's name, which has an output or a target behind a dot where there are several of them."""
    return METRICS[name.partition(".")[0]]
