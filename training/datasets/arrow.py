"""Arrow tables to columns. CSV, Parquet, Feather and pandas tables all come through here, so they all mean the same."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from training.datasets.dataset import Array
from training.datasets.table import LARGEST_EXACT, column
from training.errors import DatasetError


def columns_of_arrow(table: Any, where: str) -> dict[str, Array]:  # noqa: ANN401 -- pyarrow is untyped
    """Return the columns of a pyarrow.Table as numbers, booleans, text, and arrays for lists of one length.

    Dates and moments become ISO 8601 text to the second, in UTC if they have a zone.

    Raises DatasetError for an empty table, two columns of one name, or a type that no model takes.
    """
    if not table.num_rows or not table.num_columns:
        raise DatasetError(f"{where} has {table.num_rows} rows and {table.num_columns} columns; expected at least one of each.")
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DatasetError(f"{where} has two columns '{twice[0]}'; expected different names.")
    return {name: _column(name, table.column(name).combine_chunks()) for name in names}


def columns_of_pandas(frame: pd.DataFrame, where: str) -> dict[str, Array]:
    """Return the columns of a pandas table; its index is left out. Raises DatasetError as `columns_of_arrow` does."""
    named = frame.rename(columns=str)
    try:
        return columns_of_arrow(pa.Table.from_pandas(named, preserve_index=False), where)
    except pa.ArrowException as error:
        raise DatasetError(f"{where}: {error}. Expected columns of one type each.") from error


def _column(name: str, values: Any) -> Array:  # noqa: ANN401
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.dictionary_decode()
        kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return _text(values.cast(pa.string()))
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _text(_moments(values))
    if pa.types.is_boolean(kind):
        return _booleans(values)
    if pa.types.is_integer(kind):
        return _integers(name, values)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column(name, values.cast(pa.float64()).to_numpy(zero_copy_only=False))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _lists(name, values)
    raise DatasetError(f"Column '{name}' has the type {kind}; expected numbers or text. Convert it, or name it under dataset.drop.")


def _text(values: Any) -> Array:  # noqa: ANN401
    return np.array(values.fill_null("").to_pylist(), dtype=object)


def _moments(values: Any) -> Any:  # noqa: ANN401
    if pa.types.is_date(values.type):
        return values.cast(pa.date32()).cast(pa.string())
    return pc.strftime(values.cast(pa.timestamp("s", values.type.tz), safe=False), format="%Y-%m-%dT%H:%M:%S")


def _booleans(values: Any) -> Array:  # noqa: ANN401
    """Return bool, or the words if some are missing."""
    if not values.null_count:
        return values.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    return _text(pc.if_else(values, "true", "false"))


def _integers(name: str, values: Any) -> Array:  # noqa: ANN401
    """Return int64, or float32 if some are missing: then larger integers than float32 holds exactly are refused."""
    if not values.null_count:
        return values.to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]
    wide = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if np.nanmax(np.abs(wide), initial=0) > LARGEST_EXACT:
        raise DatasetError(
            f"Column '{name}' has missing values beside integers above {LARGEST_EXACT}, which float32 cannot hold exactly. "
            'Expected smaller numbers, or text: set dataset.types = { "' + name + '" = "text" } to take them as words.'
        )
    return wide.astype(np.float32)  # type: ignore[no-any-return]


def _lists(name: str, values: Any) -> Array:  # noqa: ANN401
    rows = values.to_pylist()
    sizes = {None if row is None else len(row) for row in rows}
    if len(sizes) != 1 or None in sizes:
        raise DatasetError(f"The lists of column '{name}' differ in length; expected one length. Pad them, or drop the column.")
    return column(name, np.array(rows))
