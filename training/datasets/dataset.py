"""What a dataset is: rows by tensor name, the class of each, and what the tensors mean."""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from msgspec import Struct

from service.repository.signature import TensorSpec

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]


class Rows(Struct, frozen=True):
    """Inputs by tensor name, and the index of each row's label as int64 [rows]; the first axis of each counts the rows."""

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
    """All rows of one source. `inputs` declares the tensors of `rows.inputs`; a target is an index into `labels`."""

    name: str
    task: Literal["classification"]
    inputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    rows: Rows

    @property
    def sha256(self) -> str:
        """Digest of names, types, shapes, values and labels: equal for equal data, on any machine."""
        digest = hashlib.sha256(repr((self.name, self.labels)).encode())
        for name, array in (*sorted(self.rows.inputs.items()), ("targets", self.rows.targets)):
            little_endian = array.astype(array.dtype.newbyteorder("<"))
            digest.update(repr((name, little_endian.dtype.str, array.shape)).encode())
            digest.update(little_endian.tobytes())
        return digest.hexdigest()
