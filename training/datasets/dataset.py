"""What a dataset is: rows by tensor name, the target of each, and what the tensors mean."""

import hashlib
from collections.abc import Mapping
from typing import Any, Self

import msgspec
import numpy as np
from msgspec import Struct

from service.repository.signature import TensorSpec
from training.spec.targets import Task

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]


class Rows(Struct, frozen=True):
    """Inputs by tensor name and targets by output name; the first axis of each counts the rows.

    Targets: int64 [rows] label indices (classification) or float32 [rows, values] (regression). A reconstruction has none of its
    own, [rows, 0], until the input of its network is known.
    A table's columns have rank 1: float32 with NaN for what is missing, int64, or object of str with "" for what is missing.
    """

    inputs: Tensors
    targets: Tensors

    def __len__(self) -> int:
        """Count the rows."""
        return len(next(iter(self.targets.values())))

    def take(self, indices: Array) -> Self:
        """Return the rows at `indices`, in that order."""
        inputs, targets = ({name: array[indices] for name, array in part.items()} for part in (self.inputs, self.targets))
        return type(self)(inputs, targets)


class Splits(Struct, frozen=True):
    """The rows to fit, those that steer the fit (early stopping), and those that judge the result."""

    train: Rows
    validation: Rows
    test: Rows

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each split."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}


class Goal(Struct, frozen=True, kw_only=True):
    """What an output of a model predicts. `labels` names what a classification's targets are indices of, or a regression's values.

    `units` are the units of measure of the latter.
    """

    task: Task
    output: TensorSpec
    labels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()


class Dataset(Struct, frozen=True):
    """All rows of one source. `inputs` declares the tensors of `rows.inputs`, `goals` what a model of them predicts.

    The targets of a goal are in `rows.targets` by its output's name, in the order of `goals`. `split_keys` [rows] are the values
    that decide the split, if a column does.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    goals: tuple[Goal, ...]
    rows: Rows
    split_keys: Array | None = None

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that a model gives."""
        return tuple(goal.output for goal in self.goals)

    @property
    def sha256(self) -> str:
        """Digest of names, types, shapes, values and labels: equal for equal data, on any machine."""
        digest = hashlib.sha256(repr((self.name, *(goal.labels for goal in self.goals))).encode())
        columns = [*sorted(self.rows.inputs.items()), *(("targets", array) for array in self.rows.targets.values())]
        if self.split_keys is not None:
            columns.append(("split", self.split_keys))
        for name, array in columns:
            digest.update(repr((name, array.dtype.newbyteorder("<").str, array.shape)).encode())
            digest.update(_content(array))
        return digest.hexdigest()


def _content(array: Array) -> bytes:
    """Return the values as bytes that are the same on every machine: little endian numbers, strings as JSON."""
    if array.dtype == object:
        return msgspec.json.encode(array.tolist())
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
