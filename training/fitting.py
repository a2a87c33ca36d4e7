"""Fit a Keras model to the training rows, the same way every time."""

import math
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from training.datasets import Rows, Splits
from training.errors import FitFailed
from training.progress import Display, EpochFinished
from training.spec import EarlyStopping, Loss, TrainingSpec
from training.stopping import StopCheck, never

# Batches that TensorFlow runs between two returns to Python: 2-3 times the speed of a small network, the same weights.
_STEPS_PER_EXECUTION: Final = 32
_LOSS_ON_INDICES: Final[Loss] = "sparse_categorical_crossentropy"


def fix_randomness(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, and allow only operations that give the same result every time.

    Applies to the whole process; call it before the model is built, which draws the first weights.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def fit(model: keras.Model, splits: Splits, spec: TrainingSpec, display: Display, stop: StopCheck = never) -> int:
    """Fit `model` in place and return the number of epochs run. Raises FitFailed when the loss is no number any more."""
    steps = math.ceil(len(splits.train) / spec.batch_size)
    model.compile(
        optimizer=keras.optimizers.get({"class_name": type(spec.optimizer).__name__, "config": _settings(spec)}),
        loss=spec.loss,
        metrics=["accuracy"],
        steps_per_execution=min(_STEPS_PER_EXECUTION, steps),
    )
    with display.epochs(spec.epochs) as finished:
        history = model.fit(
            _rows(splits.train, model, spec.loss).shuffle(len(splits.train), seed=spec.seed).batch(spec.batch_size).prefetch(2),
            validation_data=_rows(splits.validation, model, spec.loss).batch(spec.batch_size),
            epochs=spec.epochs,
            shuffle=False,  # the rows come shuffled
            callbacks=[_Watch(finished, stop), *_early_stopping(spec.early_stopping)],
            verbose=0,
        )
    return len(history.epoch)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Reports every epoch, and stops a fit that has diverged or that is told to."""

    def __init__(self, finished: EpochFinished, stop: StopCheck) -> None:
        super().__init__()
        self._finished = finished
        self._stop = stop

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 -- Keras' names
        """Stop between two batches, if told to."""
        self._stop()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Report the epoch. Raises FitFailed if its loss is not finite."""
        metrics = logs or {}
        self._finished(epoch + 1, metrics)
        loss = metrics.get("loss", 0.0)
        if not math.isfinite(loss):
            raise FitFailed(epoch + 1, loss)


def _settings(spec: TrainingSpec) -> dict[str, Any]:
    return {name: getattr(spec.optimizer, name) for name in spec.optimizer.__struct_fields__}


def _rows(rows: Rows, model: keras.Model, loss: Loss) -> tf.data.Dataset:
    """Return the rows one by one: inputs in the model's order, and the target as the loss wants it, an index or one-hot.

    A dataset of our own: Keras' for arrays maps in parallel, which deterministic TensorFlow undoes with an error message.
    """
    inputs = tuple(rows.inputs[tensor.name] for tensor in model.inputs)
    one_hot = np.eye(model.outputs[0].shape[-1], dtype=np.float32)
    targets = rows.targets if loss == _LOSS_ON_INDICES else one_hot[rows.targets]
    return tf.data.Dataset.from_tensor_slices((inputs, targets))


def _early_stopping(spec: EarlyStopping | None) -> list[keras.callbacks.Callback]:
    if spec is None:
        return []
    return [keras.callbacks.EarlyStopping(monitor=spec.monitor, patience=spec.patience, restore_best_weights=True)]
