"""A fit to be killed: `python resumable_fit.py WORKDIR EPOCHS` fits a small network with every kind of state, in some seconds.

Prints the sha256 of the weights at the end, and how many epochs the checkpoint held that it started from.
"""

import hashlib
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import msgspec
import numpy as np

from training.datasets.dataset import Rows
from training.fitting import batches, fit, fix_randomness
from training.progress import QuietDisplay
from training.spec import TrainingSpec

SPEC = {
    "name": "killed",
    "seed": 11,
    "batch_size": 24,
    "loss": "sparse_categorical_crossentropy",
    "dataset": {"source": {"kind": "sklearn", "name": "digits"}},
    "architecture": {"kind": "dense", "hidden": [{"units": 16}]},
    "optimizer": {"name": "nadam", "learning_rate": 0.003, "clipnorm": 1.0},
    "schedule": {"kind": "reduce_on_plateau", "patience": 3, "factor": 0.7, "cooldown": 1},
    "early_stopping": {"patience": 10000},
    "class_weights": "balanced",
    "acceptance": {"accuracy": 0.1},
}


def rows(count: int, seed: int) -> Rows:
    """Return images float32 [count, 8, 8] of four labels: the brightest quarter."""
    images = np.random.default_rng(seed).random((count, 8, 8), np.float32)
    quarters = np.stack([images[:, a : a + 4, b : b + 4].sum((1, 2)) for a in (0, 4) for b in (0, 4)], axis=1)
    return Rows({"image": images}, {"y": quarters.argmax(axis=1).astype(np.int64)})


def network() -> keras.Model:
    """Build a network with random layers, moving statistics and dropout."""
    image = keras.Input((8, 8), name="image")
    values = keras.layers.Reshape((8, 8, 1))(image)
    values = keras.layers.RandomTranslation(0.1, 0.1)(values)
    values = keras.layers.Conv2D(4, 3, activation="relu")(values)
    values = keras.layers.BatchNormalization()(values)
    values = keras.layers.Dropout(0.2)(keras.layers.Flatten()(values))
    return keras.Model([image], [keras.layers.Dense(4, activation="softmax")(values)])


def main(workdir: Path, epochs: int) -> None:
    """Fit, and tell what came out."""
    batches._CHUNK_BYTES = 4 * 24 * 264
    spec = msgspec.convert(SPEC | {"epochs": epochs}, TrainingSpec)
    fix_randomness(spec.seed)
    model = network()
    history = fit(model, rows(500, 1), rows(100, 2), spec, workdir=workdir, display=QuietDisplay())
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(value).tobytes() for value in model.get_weights())).hexdigest()
    sys.stdout.write(f"{digest} {history.resumed_from}\n")


main(Path(sys.argv[1]), int(sys.argv[2]))
