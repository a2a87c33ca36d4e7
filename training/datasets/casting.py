"""A column as the type that the spec declares for it, where the file could be read otherwise."""

import numpy as np

from training.datasets.dataset import Array
from training.datasets.table import numbers_for_booleans
from training.errors import DatasetError
from training.spec.dataset import ColumnType


def cast(name: str, values: Array, wanted: ColumnType | None) -> Array:
    """Return `values` as declared: number is float32, integer int64, text str objects; without a declaration as they are.

    Raises DatasetError with the first value that is none, and its row.
    """
    if wanted is None:
        return values
    if wanted == "text":
        return values if values.dtype == object else _as_text(values)
    values = numbers_for_booleans(values)
    numbers = _parsed(name, values) if values.dtype == object else values
    return numbers.astype(np.float32) if wanted == "number" else _as_integers(name, numbers)


def _as_text(values: Array) -> Array:
    """Write numbers as words: 3 for 3.0, and nothing for what is missing."""
    if values.dtype == np.bool_:
        return np.array([str(value).lower() for value in values], dtype=object)
    words = ["" if value != value else str(int(value) if value == int(value) else value) for value in values.tolist()]  # noqa: PLR0124 -- NaN
    return np.array(words, dtype=object)


def _parsed(name: str, values: Array) -> Array:
    numbers = np.full(len(values), np.nan)
    for row, text in enumerate(values):
        if not text.strip():
            continue
        try:
            numbers[row] = float(text)
        except ValueError:
            raise DatasetError(
                f"Column '{name}' holds {text!r} in row {row}; expected a number. Correct it, or name it in "
                "dataset.source.missing if it stands for no value."
            ) from None
    return numbers


def _as_integers(name: str, numbers: Array) -> Array:
    bad = np.flatnonzero(numbers != np.floor(numbers))  # NaN too: an int64 cannot be missing
    if len(bad):
        raise DatasetError(f"Column '{name}' holds {numbers[bad[0]]:g} in row {bad[0]}; expected an integer in every row.")
    return numbers.astype(np.int64)
