"""A spec's loss as Keras' object, and the metrics that are followed beside it."""

from collections.abc import Callable
from typing import Any, Final

import keras
import numpy as np

from training.datasets.dataset import Array
from training.errors import FitRefused
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
    """Return how much more answering every row with the mean of `targets` [rows, values] costs than the truth; 1 if no more.

    Counted from the truth, it is never negative: Poisson's loss itself is, where the mean is above e. Raises FitRefused if the
    targets are too large for the loss.
    """
    mean = np.broadcast_to(targets.mean(axis=0, dtype=np.float64).astype(targets.dtype), targets.shape)
    cost = float(loss(targets, mean)) - float(loss(targets, targets))
    if not np.isfinite(cost):
        raise FitRefused(
            f"The targets reach {np.abs(targets).max():.3g}, where the loss is no finite 32-bit number any more. "
            "Count them in a larger unit."
        )
    return cost if cost > 0 else 1.0


class Relative(keras.losses.Loss):  # type: ignore[misc]  # Keras is untyped
    """A loss in the target's unit whose gradient is that of its share of `cost`.

    So a learning rate means the same in grams and in tonnes, and squares of gradients stay within 32 bits.
    """

    def __init__(self, loss: keras.losses.Loss, cost: float) -> None:
        super().__init__(name=loss.name, reduction=loss.reduction)
        self._loss = loss
        self._cost = cost

    def call(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ANN401 -- Keras tensors
        """Return the loss of each row: its value comes by a way that has no gradient, and the share gives its gradient and 0."""
        whole = self._loss.call(y_true, y_pred)
        share = whole / self._cost
        return keras.ops.stop_gradient(whole) + (share - keras.ops.stop_gradient(share))


def build_metrics(*, labels: bool, outputs: int, indices: bool) -> list[keras.metrics.Metric]:
    """Return what is followed besides the loss: the accuracy for labels; for numbers mean absolute and root mean squared error."""
    if not labels:
        return [keras.metrics.MeanAbsoluteError(name="mae"), keras.metrics.RootMeanSquaredError(name="rmse")]
    if outputs == 1:
        return [keras.metrics.BinaryAccuracy(name="accuracy")]
    kind = keras.metrics.SparseCategoricalAccuracy if indices else keras.metrics.CategoricalAccuracy
    return [kind(name="accuracy")]
