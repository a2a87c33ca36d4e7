"""How long an epoch takes here and with plain Keras: Fashion-MNIST, a dense network 256-128 and a small CNN, batches of 128.

    python tests/benchmarks/training/epoch_time.py --epochs 5 --rounds 3

Plain Keras is `model.fit` on numpy arrays with its defaults. Each side runs in a process of its own, the two in turns, so that
both meet the same machine; the first epoch of each process, which builds the graph, does not count. An epoch lasts from the end of
the one before to its own end: ours has a validation of 10 rows, metrics.csv and the checkpoints in it, plain Keras none of these.
Prints the medians of wall time and of CPU time (all threads), their ratios, and the share of the time in which our batches were put
together.
Needs the Debian package dataset-fashion-mnist and the train extra.
"""

import argparse
import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import msgspec
import numpy as np

from training.datasets.dataset import Rows
from training.fitting import fit, fix_randomness
from training.progress import QuietDisplay
from training.spec import TrainingSpec

DATA = Path("/usr/share/datasets/fashion-mnist")
ROOT = Path(__file__).parents[3]
BATCH = 128
SPEC = {
    "name": "epoch-time",
    "seed": 7,
    "batch_size": BATCH,
    "loss": "sparse_categorical_crossentropy",
    "dataset": {"source": {"kind": "sklearn", "name": "digits"}},
    "architecture": {"kind": "dense", "hidden": [{"units": 256}, {"units": 128}]},
    "optimizer": {"name": "adam"},
    "acceptance": {"accuracy": 0.1},
}


def read_rows() -> Rows:
    """Return the 60,000 training images float32 [60000, 28, 28], 0 to 1, and their labels."""
    with gzip.open(DATA / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(DATA / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return Rows({"image": images.astype(np.float32) / 255}, {"label": labels.astype(np.int64)})


def build(network: str) -> keras.Model:
    """Build one of the two networks: 235 thousand parameters, or two convolutions with 35 thousand."""
    image = keras.Input((28, 28), name="image")
    if network == "dense":
        values = keras.layers.Flatten()(image)
        values = keras.layers.Dense(256, activation="relu")(values)
        values = keras.layers.Dense(128, activation="relu")(values)
    else:
        values = keras.layers.Reshape((28, 28, 1))(image)
        values = keras.layers.MaxPooling2D()(keras.layers.Conv2D(32, 3, activation="relu")(values))
        values = keras.layers.MaxPooling2D()(keras.layers.Conv2D(64, 3, activation="relu")(values))
        values = keras.layers.Flatten()(values)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax")(values))


class Clock:
    """Wall and CPU seconds of each epoch but the first."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, float]] = []

    def tick(self) -> None:
        """Take note that an epoch has ended."""
        self._ends.append((time.perf_counter(), time.process_time()))

    @property
    def seconds(self) -> list[tuple[float, float]]:
        """Wall and CPU time from one end to the next."""
        return [(wall - before, cpu - cpu_before) for (before, cpu_before), (wall, cpu) in itertools.pairwise(self._ends)]


class Ticking(keras.callbacks.Callback):
    """Tells the clock of plain Keras' epochs."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 -- Keras' names
        """Tick."""
        self.clock.tick()


class Followed(QuietDisplay):
    """Tells the clock of our epochs."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @contextmanager
    def epochs(self, total: int, *, done: int = 0) -> Iterator[Self]:  # noqa: ARG002 -- the interface
        """Follow the fit."""
        yield self

    def within(self, epoch: int, share: float, metrics: Mapping[str, float]) -> None:
        """Take no note of parts."""

    def finished(self, epoch: int, metrics: Mapping[str, float]) -> None:  # noqa: ARG002 -- the interface
        """Tick."""
        self.clock.tick()


def plain(network: str, epochs: int) -> tuple[list[tuple[float, float]], float]:
    """Fit as Keras' documentation does."""
    rows, clock = read_rows(), Clock()
    model = build(network)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    labels = rows.targets["label"]
    model.fit(rows.inputs["image"], labels, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[Ticking(clock)])
    return clock.seconds, 0.0


def ours(network: str, epochs: int) -> tuple[list[tuple[float, float]], float]:
    """Fit as `axon train` does, deterministic operations included."""
    rows, clock = read_rows(), Clock()
    spec = msgspec.convert(SPEC | {"epochs": epochs}, TrainingSpec)
    fix_randomness(spec.seed)
    with tempfile.TemporaryDirectory() as workdir:
        history = fit(build(network), rows, rows.take(np.arange(10)), spec, workdir=Path(workdir), display=Followed(clock))
    return clock.seconds, history.input_share


def measure(side: str, network: str, epochs: int) -> tuple[list[tuple[float, float]], float]:
    """Run one side in a process of its own; return the seconds of its epochs but the first, and the input's share."""
    command = [sys.executable, __file__, "--side", side, "--network", network, "--epochs", str(epochs)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds, share = json.loads(done.stdout)
    return seconds, share


def compare(network: str, epochs: int, rounds: int) -> None:
    """Run both sides in turns and print what came out."""
    seconds: dict[str, list[tuple[float, float]]] = {"plain": [], "ours": []}
    shares = []
    for number in range(rounds):
        for side in ("plain", "ours") if number % 2 == 0 else ("ours", "plain"):
            measured, share = measure(side, network, epochs)
            seconds[side] += measured
            shares += [share] if side == "ours" else []
    for place, clock in enumerate(("wall", "CPU")):
        told(network, clock, {side: [epoch[place] for epoch in measured] for side, measured in seconds.items()})
    sys.stdout.write(f"{network}: our batches were put together in {statistics.median(shares):.1%} of the time\n")
    sys.stdout.flush()


def told(network: str, clock: str, seconds: dict[str, list[float]]) -> None:
    """Print the medians, their ranges and their ratio."""
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    spread = {side: f"{min(values):.2f}-{max(values):.2f}" for side, values in seconds.items()}
    sys.stdout.write(
        f"{network}, {clock}: plain {medians['plain']:.2f} s ({spread['plain']}), ours {medians['ours']:.2f} s ({spread['ours']}) "
        f"an epoch; ratio {medians['plain'] / medians['ours']:.2f}\n"
    )


def main() -> None:
    """Measure, or be one side of a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", choices=["dense", "cnn"])
    parser.add_argument("--side", choices=["plain", "ours"])
    options = parser.parse_args()
    if options.side:
        side = plain if options.side == "plain" else ours
        sys.stdout.write(json.dumps(side(options.network, options.epochs)))
        return
    for network in [options.network] if options.network else ["dense", "cnn"]:
        compare(network, options.epochs, options.rounds)


main()
