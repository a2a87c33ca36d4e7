"""Comma-separated values: a header row, then rows of numbers and text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from training.datasets.arrow import columns_of_arrow
from training.datasets.table import Table
from training.errors import DatasetError
from training.spec.sources import CsvSource


def read(source: CsvSource) -> Table:
    """Return the columns by their names in the header. Raises DatasetError if the file is absent or its rows are uneven."""
    path = Path(source.path)
    try:
        table = _as_written(path, source)
        names = table.column_names
    except FileNotFoundError as error:
        raise DatasetError(f"{path.absolute()} does not exist; expected a CSV file in UTF-8 with a header row.") from error
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path.absolute()} cannot be read: {error}. Expected a CSV file in UTF-8 with a header row.") from error
    if any(pa.types.is_binary(field.type) for field in table.schema):  # what pyarrow makes of text that is no UTF-8
        raise _not_utf8(path)
    if "" in names:
        number = names.index("") + 1
        raise DatasetError(f"Column {number} of {path} has no name in the header. Name it, or leave it out of the file.")
    return Table(name=path.stem, columns=columns_of_arrow(table, str(path)))


def _not_utf8(path: Path) -> DatasetError:
    return DatasetError(
        f"{path.absolute()} is not in UTF-8; expected a CSV file in UTF-8 with a header row. If it is in Latin-1, convert it: "
        f"iconv -f LATIN1 -t UTF-8 {path.name} > converted.csv"
    )


def _as_written(path: Path, source: CsvSource) -> pa.Table:
    """Read the file, but dates and numbers with leading zeros as the text that they are written as.

    A served row has the file's text, not that of another form of the same moment; and 01234 is a code, not a number.
    """
    table = _table(path, source, {})
    text = {field.name: pa.string() for field in table.schema if pa.types.is_temporal(field.type)}
    whole = [field.name for field in table.schema if pa.types.is_integer(field.type) and field.name]
    if whole and len(set(table.column_names)) == len(table.column_names):
        written = _table(path, source, dict.fromkeys(whole, pa.string()), whole)
        text |= {name: pa.string() for name in whole if _has_leading_zeros(written.column(name))}
    return _table(path, source, text) if text else table


def _has_leading_zeros(column: Any) -> bool:  # noqa: ANN401 -- pyarrow is untyped
    return bool(pc.any(pc.match_substring_regex(column, r"^\s*[-+]?0[0-9]")).as_py())


def _table(path: Path, source: CsvSource, types: dict[str, pa.DataType], names: Sequence[str] = ()) -> pa.Table:
    """Read the columns `names`, or all."""
    convert = csv.ConvertOptions(
        null_values=["", *source.missing], strings_can_be_null=True, column_types=types, include_columns=list(names)
    )
    return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=source.separator), convert_options=convert)
