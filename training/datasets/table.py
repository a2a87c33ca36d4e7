"""Named columns as a source gives them, brought to the few array types that models take."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from msgspec import Struct

from training.datasets.dataset import Array, Tensors
from training.errors import DatasetError

LARGEST_EXACT: Final = 2**24  # the integers that float32 holds exactly
_MOST_LOST: Final = 1e-3  # of the standard deviation


class Table(Struct, frozen=True, kw_only=True):
    """The columns of a source; the first axis of each counts the rows.

    `target` is the column to predict if the spec names none, and `labels` what its integers stand for.
    """

    name: str
    columns: Tensors
    target: str = ""
    labels: tuple[str, ...] = ()
    value_ranges: Mapping[str, tuple[float, float]] = {}
    descriptions: Mapping[str, str] = {}


def column(name: str, values: Array) -> Array:
    """Return `values` as float32 (NaN is missing), int64, or str objects ("" is missing); uint8 above rank 1 stays (pictures).

    Booleans stay too: a target's are labels. `numbers_for_booleans` makes inputs of them.

    Raises DatasetError for types that are none of these.
    """
    kind = values.dtype.kind
    if kind in "US":
        return values.astype(np.str_).astype(object)
    if kind == "O":
        return _objects(name, values)
    if kind == "b":
        return values
    if kind in "iu":
        return values if values.dtype == np.uint8 and values.ndim > 1 else values.astype(np.int64)
    if kind == "f":
        return _floats(name, values)
    raise DatasetError(
        f"Column '{name}' has the type {values.dtype}; expected numbers or text. Convert it, or name it under dataset.drop."
    )


def numbers_for_booleans(values: Array) -> Array:
    """Return int64 0 and 1 for false and true, anything else as it is."""
    return values.astype(np.int64) if values.dtype == np.bool_ else values


def columns(arrays: Mapping[str, object], where: str) -> dict[str, Array]:
    """Return every array as a column, see `column`. Raises DatasetError if they are none or differ in length."""
    found = {str(name): column(str(name), np.asarray(values)) for name, values in arrays.items()}
    lengths = {name: len(values) if values.ndim else 0 for name, values in found.items()}
    if not lengths or not min(lengths.values()):
        empty = next((name for name, length in lengths.items() if not length), None)
        what = "there are no columns" if empty is None else f"column '{empty}' has no rows"
        raise DatasetError(f"{where}: {what}; expected arrays whose first axis counts the rows.")
    if hollow := [name for name, values in found.items() if not values.size]:
        shape = list(found[hollow[0]].shape[1:])
        raise DatasetError(f"{where}: column '{hollow[0]}' has the shape {shape} a row, which holds nothing; expected values.")
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        raise DatasetError(f"{where}: the columns differ in their number of rows ({shown}); expected one number for all.")
    return found


def _objects(name: str, values: Array) -> Array:
    """Turn Python objects into text, or into numbers if they are all numbers; None and NaN are missing."""
    missing = np.array([value is None or value != value for value in values.ravel()], dtype=bool)  # noqa: PLR0124 -- NaN
    present = [value for value, absent in zip(values.ravel(), missing, strict=True) if not absent]
    if present and all(isinstance(value, str) for value in present):
        text = np.array(["" if absent else value for value, absent in zip(values.ravel(), missing, strict=True)], dtype=object)
        return text.reshape(values.shape)
    try:
        return _floats(name, np.where(missing.reshape(values.shape), np.nan, values).astype(np.float64))
    except (TypeError, ValueError) as error:
        kinds = ", ".join(sorted({type(value).__name__ for value in present}))
        raise DatasetError(f"Column '{name}' mixes values of the types {kinds}; expected all text or all numbers.") from error


def _floats(name: str, values: Array) -> Array:
    """Return float32.

    Raises DatasetError for infinity, for NaN where nothing can be missing (rank 2 and above), and for numbers that are not told
    apart any more.
    """
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    bad = np.isinf(narrow) if narrow.ndim == 1 else ~np.isfinite(narrow)
    if bad.any():
        place = int(np.argwhere(bad)[0][0])
        value = values[place] if values.ndim == 1 else "a value that is no finite number"
        raise DatasetError(
            f"Column '{name}' holds {value} in row {place}; expected finite numbers. Clean the data, or drop the column."
        )
    _require_told_apart(name, values, narrow)
    return narrow


def _require_told_apart(name: str, values: Array, narrow: Array) -> None:
    """Raise DatasetError if rounding to float32 takes more than a thousandth of how much the numbers differ: seconds since 1970."""
    if values.dtype.itemsize <= narrow.dtype.itemsize or not (present := np.isfinite(values)).any():
        return
    lost, spread = np.abs(values - narrow)[present].max(), values[present].std()
    if lost > _MOST_LOST * spread and values[present].min() < values[present].max():
        raise DatasetError(
            f"Column '{name}' holds numbers such as {float(values[present].flat[0])}, which differ too little from each other for "
            f"float32, the type that models take: up to {lost:.2g} would be lost. Expected smaller numbers or integers: subtract a "
            "constant, or give moments as whole seconds or as ISO 8601 text."
        )
