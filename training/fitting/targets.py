"""The targets of a split as the loss compares them, and the weight of each row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.errors import FitRefused
from training.fitting.losses import wants_indices
from training.spec import ClassWeights, Loss, loss_name
from training.spec.losses import CLASSIFYING, MEASURING

Array = np.ndarray[Any, Any]


def are_labels(targets: Array) -> bool:
    """Tell whether the targets are label indices; numbers to be met are floats."""
    return bool(np.issubdtype(targets.dtype, np.integer) and targets.ndim == 1)


def compared(targets: Array, loss: Loss, shape: tuple[int | None, ...]) -> Array:
    """Return the targets as `loss` compares them with an output of `shape` (batch axis first).

    Label indices stay so for a sparse loss, become one-hot rows for the others, and 0.0 or 1.0 for a single output. Raises
    FitRefused if the loss, the output and the targets do not fit each other.
    """
    _require_fitting_loss(targets, loss)
    if not are_labels(targets):
        return _numbers(targets, shape)
    outputs = shape[-1] or 0
    known = 2 if outputs == 1 else outputs
    if targets.size and not 0 <= targets.min() <= targets.max() < known:
        raise FitRefused(
            f"The targets hold label {targets.max()}, and the model tells {known} labels apart; expected 0 to {known - 1}. "
            "Give the output one unit a label."
        )
    if outputs == 1:
        return targets.astype(np.float32)[:, np.newaxis]
    return targets if wants_indices(loss) else np.eye(outputs, dtype=np.float32)[targets]


def class_weights(targets: Array, weights: ClassWeights, labels: Sequence[str]) -> Array:
    """Return the weight of each row, float32 [rows], from its label index.

    "balanced": rows / (labels present * rows of the label), so the weights' mean is 1. Raises FitRefused for labels that
    the dataset does not have, or that got no weight.
    """
    if isinstance(weights, Mapping):
        if set(weights) != set(labels):
            odd = sorted(set(weights) ^ set(labels))
            raise FitRefused(
                f"class_weights and the dataset differ in {', '.join(map(repr, odd))}; expected one weight for each of the labels "
                f"{', '.join(map(repr, labels))}."
            )
        table = np.array([weights[label] for label in labels], np.float32)
    else:
        counts = np.bincount(targets)
        table = (len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)
    return np.asarray(table[targets])


def _require_fitting_loss(targets: Array, loss: Loss) -> None:
    suitable, kind = (CLASSIFYING, "labels") if are_labels(targets) else (MEASURING, "numbers")
    name = loss_name(loss)
    if name not in suitable:
        raise FitRefused(
            f"loss = '{name}' does not fit a dataset whose targets are {kind}; expected one of {', '.join(sorted(suitable))}."
        )


def _numbers(targets: Array, shape: tuple[int | None, ...]) -> Array:
    """Give rank-1 targets the output's axis. Raises FitRefused if a row of them has another shape than the output."""
    values = targets.astype(np.float32, copy=False)
    if wrong := int(np.count_nonzero(~np.isfinite(values))):
        raise FitRefused(f"{wrong} of the targets are not finite numbers; expected none. Drop those rows, or repair them.")
    if values.ndim == 1 and len(shape) == 2:  # noqa: PLR2004 -- rows and one axis of values
        values = values[:, np.newaxis]
    if len(values.shape) != len(shape) or any(
        size not in (None, have) for size, have in zip(shape[1:], values.shape[1:], strict=True)
    ):
        raise FitRefused(
            f"A target has shape {list(values.shape[1:])} and the model's output {list(shape[1:])}; expected the same. "
            "Give the output one unit a target column."
        )
    return values
