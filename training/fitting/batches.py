"""From arrays to batches: the order of an epoch, and the chunks of rows that TensorFlow gets at a time.

A chunk is gathered by numpy and cut into batches inside the graph: no Python between two batches, no second copy of the dataset,
and nothing of it on a GPU but the chunk. How many batches make a chunk changes nothing about the numbers.
"""

import math
import time
from typing import Any, Final

import keras
import numpy as np
from msgspec import Struct

from training.datasets.dataset import Array, Tensors

_CHUNK_SECONDS: Final = 0.25  # how often we hear a signal, move the display, and may write a checkpoint
_CHUNK_BYTES: Final = 2**24
_FIRST_CHUNK: Final = 8  # batches, until the time of one is known


class Examples(Struct, frozen=True):
    """The rows of a split: the network's inputs, and for each of its outputs what it is compared with and the rows' weights."""

    inputs: Tensors
    targets: tuple[Array, ...]
    weights: tuple[Array, ...] | None = None

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.targets[0])

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return sum(array.nbytes for array in (*self.inputs.values(), *self.targets)) // max(1, len(self))

    def data(self, rows: Any, model: keras.Model) -> tuple[Any, ...]:  # noqa: ANN401 -- a slice or row numbers
        """Return (inputs, targets[, weights]) of `rows`, nested as the model takes and gives them."""
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        parts = [self.targets] if self.weights is None else [self.targets, self.weights]
        return (arranged(model, inputs), *(_nested(model, tuple(array[rows] for array in part)) for part in parts))


def arranged(model: keras.Model, inputs: Tensors) -> Any:  # noqa: ANN401 -- an array, or a list or dict of them
    """Nest arrays by name as the model takes them; a subclassed model gets its one array, or the dict."""
    if getattr(model, "inputs", None):
        return keras.tree.map_structure(lambda tensor: inputs[tensor.name], model.input)
    return dict(inputs) if len(inputs) > 1 else next(iter(inputs.values()))


def order_of(rows: int, *, seed: int, epoch: int) -> Array:
    """Return the row numbers in the order of `epoch` (from 0), from the arguments alone: a resumed fit finds it again."""
    return np.random.default_rng((seed, epoch)).permutation(rows)


class Pace:
    """How many batches the next chunk gets: as many as take a quarter of a second, within 16 MiB."""

    def __init__(self, batch_bytes: int) -> None:
        self._most = max(1, _CHUNK_BYTES // max(1, batch_bytes))
        self._next = min(_FIRST_CHUNK, self._most)
        self._started = 0.0
        self._warm = False

    def next(self) -> int:
        """Return the number of batches, and take the time from here."""
        self._started = time.perf_counter()
        return self._next

    def ran(self, batches: int) -> None:
        """Learn from the time since `next`; the first time includes building the graph and says nothing."""
        seconds = time.perf_counter() - self._started
        if self._warm:
            self._next = min(self._most, 4 * self._next, max(1, math.floor(batches * _CHUNK_SECONDS / max(seconds, 1e-6))))
        self._warm = True


def _nested(model: keras.Model, arrays: tuple[Array, ...]) -> Any:  # noqa: ANN401 -- an array, or a list or dict of them
    """Nest an array for each output as the model gives them."""
    return keras.tree.pack_sequence_as(model.output, list(arrays)) if getattr(model, "outputs", None) else arrays[0]
