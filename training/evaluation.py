"""How good a classifier is on rows it was not fitted to, and whether that is good enough."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from training.datasets import Rows
from training.errors import AcceptanceFailed
from training.spec import Acceptance

Metrics = Mapping[str, float]


def predict(model: keras.Model, inputs: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Run the model as it will be served (no dropout) and return its output float32 [rows, labels]."""
    ordered = [inputs[tensor.name] for tensor in model.inputs]
    return np.asarray(model(ordered, training=False))


def evaluate(model: keras.Model, rows: Rows) -> dict[str, float]:
    """Return accuracy, macro F1 (the mean over the labels) and log loss (nats a row) of `rows`."""
    return classification_metrics(predict(model, rows.inputs), rows.targets)


def classification_metrics(probabilities: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> dict[str, float]:
    """Compute the metrics from probabilities [rows, labels] and label indices [rows]."""
    predicted = probabilities.argmax(axis=1)
    of_truth = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    metrics = {
        "accuracy": float(np.mean(predicted == targets)),
        "macro_f1": _macro_f1(predicted, targets, probabilities.shape[1]),
        "log_loss": float(-np.mean(np.log(np.clip(of_truth, np.finfo(np.float32).tiny, 1.0)))),
    }
    return {name: round(value, 6) for name, value in metrics.items()}


def require_accepted(metrics: Metrics, acceptance: Acceptance) -> None:
    """Raise AcceptanceFailed, naming each threshold that `metrics` miss; a metric that is no number misses it."""
    floors = {"accuracy": acceptance.accuracy, "macro_f1": acceptance.macro_f1}
    ceilings = {"log_loss": acceptance.log_loss}
    misses = [
        f"test {name} is {metrics[name]:.4f}, expected at least {bound:g}"
        for name, bound in floors.items()
        if bound is not None and not metrics[name] >= bound
    ]
    misses += [
        f"test {name} is {metrics[name]:.4f}, expected at most {bound:g}"
        for name, bound in ceilings.items()
        if bound is not None and not metrics[name] <= bound
    ]
    if misses:
        raise AcceptanceFailed(misses)


def _macro_f1(predicted: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], labels: int) -> float:
    hits = np.bincount(targets[predicted == targets], minlength=labels)
    either = np.bincount(predicted, minlength=labels) + np.bincount(targets, minlength=labels)
    present = either > 0
    return float(np.mean(2 * hits[present] / either[present]))
