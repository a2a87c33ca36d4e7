"""What a dataset is: rows by tensor name, the target of each, and what the tensors mean."""

import hashlib
from collections.abc import Mapping
from typing import Any, Self

import msgspec
import numpy as np
from msgspec import Struct

from service.repository.signature import TensorSpec
from training.spec import Task

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]


class Rows(Struct, frozen=True):
    """Inputs by tensor name and the targets; the first axis of each counts the rows.

    Targets: int64 [rows] label indices (classification) or float32 [rows, values] (regression). A reconstruction has none of its
    own, [rows, 0], until the input of its network is known.
    A table's columns have rank 1: float32 with NaN for what is missing, int64, or object of str with "" for what is missing.
    """

    inputs: Tensors
    targets: Array

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.targets)

    def take(self, indices: Array) -> Self:
        """Return the rows at `indices`, in that order."""
        return type(self)({name: array[indices] for name, array in self.inputs.items()}, self.targets[indices])


class Splits(Struct, frozen=True):
    """The rows to fit, those that steer the fit (early stopping), and those that judge the result."""

    train: Rows
    validation: Rows
    test: Rows

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each split."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}


class Dataset(Struct, frozen=True):
    """All rows of one source. `inputs` declares the tensors of `rows.inputs`, `output` what a model of them predicts.

    `labels` names what a classification's targets are indices of, or the values of a regression, with their units of measure
    `units`. `split_keys` [rows] are the values that decide the split, if a column does.
    """

    name: str
    task: Task
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    labels: tuple[str, ...]
    rows: Rows
    units: tuple[str, ...] = ()
    split_keys: Array | None = None

    @property
    def sha256(self) -> str:
        """Digest of names, types, shapes, values and labels: equal for equal data, on any machine."""
        digest = hashlib.sha256(repr((self.name, self.labels)).encode())
        columns = [*sorted(self.rows.inputs.items()), ("targets", self.rows.targets)]
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
