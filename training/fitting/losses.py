"""A spec's loss as Keras' object, and the metrics that are followed beside it."""

from collections.abc import Callable
from typing import Final

import keras
import numpy as np

from training.datasets.dataset import Array
from training.spec.losses import Huber, Loss, LossName, loss_name

_BY_NAME: Final[dict[LossName, Callable[..., keras.losses.Loss]]] = {
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "huber": keras.losses.Huber,
    "kl_divergence": keras.losses.KLDivergence,
    "log_cosh": keras.losses.LogCosh,
    "mae": keras.losses.MeanAbsoluteError,
    "mse": keras.losses.MeanSquaredError,
    "poisson": keras.losses.Poisson,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
}


def build_loss(loss: Loss) -> keras.losses.Loss:
    """Return the loss, the mean over a batch's rows. A smoothed sparse one compares one-hot targets: see `wants_indices`."""
    if isinstance(loss, str):
        return _BY_NAME[loss]()
    if isinstance(loss, Huber):
        return keras.losses.Huber(delta=loss.delta)
    if wants_indices(loss):
        return keras.losses.SparseCategoricalCrossentropy()
    smoothed = {"binary_crossentropy": keras.losses.BinaryCrossentropy}.get(loss_name(loss), keras.losses.CategoricalCrossentropy)
    return smoothed(label_smoothing=loss.label_smoothing)


def wants_indices(loss: Loss) -> bool:
    """Tell whether the loss compares label indices; the others compare one-hot rows. Keras smooths one-hot rows only."""
    smoothing = getattr(loss, "label_smoothing", 0.0)
    return loss_name(loss) == "sparse_categorical_crossentropy" and not smoothing


def cost_of_the_mean(loss: keras.losses.Loss, targets: Array) -> float:
    """Return the loss of answering every row with the mean of `targets` [rows, values]; 1 if it is 0."""
    mean = np.broadcast_to(targets.mean(axis=0, dtype=np.float64).astype(targets.dtype), targets.shape)
    return float(loss(targets, mean)) or 1.0


def build_metrics(*, labels: bool, outputs: int, indices: bool) -> list[keras.metrics.Metric]:
    """Return what is followed besides the loss: the accuracy for labels; for numbers mean absolute and root mean squared error."""
    if not labels:
        return [keras.metrics.MeanAbsoluteError(name="mae"), keras.metrics.RootMeanSquaredError(name="rmse")]
    if outputs == 1:
        return [keras.metrics.BinaryAccuracy(name="accuracy")]
    kind = keras.metrics.SparseCategoricalAccuracy if indices else keras.metrics.CategoricalAccuracy
    return [kind(name="accuracy")]
