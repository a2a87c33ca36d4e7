"""What an output predicts: label indices, values with units, or the input itself."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from msgspec import Struct

from service.repository.signature import TensorSpec
from training.datasets.dataset import Array, Goal, Tensors
from training.datasets.table import Table
from training.errors import DatasetError
from training.spec import DatasetSpec, TargetSpec

PROBABILITIES: Final = "probabilities"
RECONSTRUCTION: Final = "reconstruction"
VALUES: Final = "values"
_FEWEST_LABELS: Final = 2
_TRUTH: Final = ("false", "true")


class Target(Struct, frozen=True, kw_only=True):
    """Target values of all rows, which rows have one, and what they are."""

    values: Array
    kept: Array
    goal: Goal


def read_target(table: Table, columns: Tensors, wanted: TargetSpec, spec: DatasetSpec, name: str = "") -> Target:
    """Make the target of an output out of its columns; without a `name`, the output gets the usual one of its task.

    Raises DatasetError if the values do not suit the task.
    """
    if wanted.task == "reconstruction":
        return _reconstruction(table)
    if not columns:
        raise DatasetError(f"{table.name} has no target column of its own; expected dataset.target to name one.")
    kept = _with_target(columns, drop=spec.missing_target == "drop")
    if wanted.task == "regression":
        return _regression(columns, kept, spec.units, name)
    ((column, values),) = columns.items()
    labels, codes = _classes(column, values, kept, wanted.labels or (table.labels if column == table.target else ()))
    output = TensorSpec(
        name=name or PROBABILITIES,
        datatype="FP32",
        shape=(-1, len(labels)),
        labels=labels,
        description=f"Probability of each label of {column}." if name else "Probability of each label.",
    )
    return Target(values=codes, kept=kept, goal=Goal(task="classification", output=output, labels=labels))


def _with_target(columns: Tensors, *, drop: bool) -> Array:
    """Return which rows have every target. Raises DatasetError if some have not, or none has."""
    lengths = {len(values) for values in columns.values()}
    kept = np.ones(lengths.pop(), dtype=bool)
    for name, values in columns.items():
        missing = values == "" if values.dtype == object else np.isnan(values) if values.dtype.kind == "f" else None
        if missing is None:
            continue
        if missing.ndim == 1 and missing.any() and (not drop or missing.all()):
            raise DatasetError(
                f"Target '{name}' is missing in {missing.sum()} of {len(missing)} rows, first in row {missing.argmax()}; expected "
                'a value in every row. Fill them in, or set dataset.missing_target = "drop" to leave these rows out.'
            )
        kept &= ~missing if missing.ndim == 1 else True
    return kept


def _regression(columns: Tensors, kept: Array, units: Mapping[str, str], name: str) -> Target:
    for column, values in columns.items():
        if values.dtype == object or values.ndim > 1:
            kind = f"text ({values[0]!r} in row 0)" if values.dtype == object else f"arrays of shape {list(values.shape[1:])}"
            raise DatasetError(f"Target '{column}' holds {kind}; expected one number a row. Choose another, or another task.")
        present = values[kept]
        if present.min() == present.max():
            raise DatasetError(f"Target '{column}' holds only {present[0]:g}; expected at least two different numbers.")
    names = tuple(columns)
    measures = tuple(units.get(column, "") for column in names)
    output = TensorSpec(
        name=name or (names[0] if len(names) == 1 else VALUES),
        datatype="FP32",
        shape=(-1, len(names)),
        labels=names if len(names) > 1 else (),
        unit=measures[0] if len(set(measures)) == 1 else ", ".join(measure or "1" for measure in measures),
    )
    values = np.stack([values.astype(np.float32) for values in columns.values()], axis=1)
    return Target(values=values, kept=kept, goal=Goal(task="regression", output=output, labels=names, units=measures))


def _reconstruction(table: Table) -> Target:
    """Give every row an empty target: what is to be reconstructed is known when the inputs have been made."""
    rows = len(next(iter(table.columns.values())))
    output = TensorSpec(
        name=RECONSTRUCTION, datatype="FP32", shape=(-1, -1), description="The input of the network, reconstructed."
    )
    goal = Goal(task="reconstruction", output=output)
    return Target(values=np.zeros((rows, 0), np.float32), kept=np.ones(rows, dtype=bool), goal=goal)


def _classes(name: str, values: Array, kept: Array, known: tuple[str, ...]) -> tuple[tuple[str, ...], Array]:
    """Return the labels and the index of each row's one; 0 in rows that are left out."""
    if values.ndim > 1:
        raise DatasetError(f"Target '{name}' holds arrays of shape {list(values.shape[1:])}; expected one label a row.")
    if values.dtype == np.bool_:
        values = values.astype(np.int64) if known and set(known) != set(_TRUTH) else np.array(_TRUTH, object)[values.astype(int)]
    present = values[kept]
    if values.dtype.kind == "f":
        present = _whole(name, present)
    codes = np.zeros(len(values), dtype=np.int64)
    if known and present.dtype != object and present.min() >= 0 and present.max() < len(known):
        codes[kept], labels = present, known  # integers that are indices already
    else:
        found, indices = np.unique(present.astype(object) if present.dtype == object else present, return_inverse=True)
        words = [str(value) for value in found]
        labels = known or tuple(words)
        if unknown := [word for word in words if word not in labels]:
            raise DatasetError(f"Target '{name}' holds '{unknown[0]}'; expected one of {', '.join(labels)}.")
        codes[kept] = np.array([labels.index(word) for word in words])[indices]
    if len(np.unique(codes[kept])) < _FEWEST_LABELS:
        raise DatasetError(f"Target '{name}' holds only '{labels[codes[kept][0]]}'; expected at least two different labels.")
    return labels, codes


def _whole(name: str, values: Array) -> Array:
    if np.any(values != np.floor(values)) or len(np.unique(values)) > len(values) // 2 > _FEWEST_LABELS * 10:
        raise DatasetError(
            f"Target '{name}' holds numbers such as {values[0]:g}; expected labels. "
            'Set dataset.task = "regression" to predict numbers, or name another target.'
        )
    return values.astype(np.int64)
