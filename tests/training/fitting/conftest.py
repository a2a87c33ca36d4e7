"""Shared by the tests of fitting: 200 rows that can be learnt, and specs and networks for them that take milliseconds an epoch."""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from training.spec import TrainingSpec

keras = pytest.importorskip("keras", reason="needs the train extra")

from training.datasets.dataset import Rows  # noqa: E402 -- after the check for the train extra
from training.fitting import fix_randomness  # noqa: E402

_SPEC = {
    "name": "tiny",
    "seed": 3,
    "epochs": 6,
    "batch_size": 32,
    "loss": "sparse_categorical_crossentropy",
    "dataset": {"source": {"kind": "sklearn", "name": "digits"}},
    "architecture": {"kind": "dense", "hidden": [{"units": 8}]},
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "acceptance": {"accuracy": 0.1},
}


def spec_of(**changes: Any) -> TrainingSpec:
    """Return a spec of six epochs of seven batches, the last of 8 rows; `changes` as a spec file would say them."""
    return msgspec.convert(_SPEC | changes, TrainingSpec)


def labelled(rows: int = 200) -> Rows:
    """Return rows `x` float32 [rows, 5] of three labels: which of the first three values is the largest."""
    values = np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)
    return Rows({"x": values}, {"y": values[:, :3].argmax(axis=1).astype(np.int64)})


def network(spec: TrainingSpec, *, outputs: int = 3, activation: str = "softmax") -> Any:
    """Build a network with every kind of state that a fit changes: weights, moving statistics, counters of random layers."""
    fix_randomness(spec.seed)
    x = keras.Input((5,), name="x")
    values = keras.layers.GaussianNoise(0.1)(x)
    values = keras.layers.Dense(8, activation="relu")(values)
    values = keras.layers.BatchNormalization()(values)
    values = keras.layers.Dropout(0.2)(values)
    return keras.Model([x], [keras.layers.Dense(outputs, activation=activation, name="y")(values)])


def digest(model: Any) -> str:
    """Return the sha256 of all weights."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(value).tobytes() for value in model.get_weights())).hexdigest()


class Builders(msgspec.Struct, frozen=True):
    """The functions above, for tests, which cannot import them."""

    spec_of: Callable[..., TrainingSpec] = spec_of
    labelled: Callable[..., Rows] = labelled
    network: Callable[..., Any] = network
    digest: Callable[[Any], str] = digest


@pytest.fixture(scope="session")
def tiny() -> Builders:
    """Return the builders of tiny specs, rows and networks."""
    return Builders()
