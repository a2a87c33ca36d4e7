"""What a run leaves beside its checkpoint: metrics.csv, and logs for TensorBoard. A resume writes both anew from the history."""

import csv
import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import tensorflow as tf

from training.errors import FitRefused
from training.fitting.history import Epoch

METRICS_NAME: Final = "metrics.csv"
TENSORBOARD_NAME: Final = "tensorboard"


class Logs:
    """The logs of a run, whole up to the last epoch that was added."""

    def __init__(self, directory: Path, *, tensorboard: bool) -> None:
        if tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise FitRefused(
                "tensorboard = true needs the package 'tensorboard', which is not installed. "
                "Run: pip install tensorboard, or leave the key out; metrics.csv has the same numbers."
            )
        self._csv = directory / METRICS_NAME
        self._events = directory / TENSORBOARD_NAME if tensorboard else None
        self._writer: tf.summary.SummaryWriter | None = None

    def restart(self, epochs: Sequence[Epoch]) -> None:
        """Begin with these epochs; what was logged after them, by a process that was killed, goes."""
        self._csv.unlink(missing_ok=True)
        if self._events is not None:
            shutil.rmtree(self._events, ignore_errors=True)
            self._writer = tf.summary.create_file_writer(str(self._events))
        for number, epoch in enumerate(epochs, start=1):
            self.add(number, epoch)

    def add(self, number: int, epoch: Epoch) -> None:
        """Add an epoch, counted from 1."""
        values = {"learning_rate": epoch.learning_rate, **epoch.metrics}
        with self._csv.open("a", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            if file.tell() == 0:
                rows.writerow(["epoch", "seconds", *values])
            rows.writerow([number, f"{epoch.seconds:.4f}", *values.values()])
        if self._writer is not None:
            with self._writer.as_default(step=number):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
            self._writer.flush()
