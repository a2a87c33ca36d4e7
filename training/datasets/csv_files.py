"""Comma-separated values: a header row, then rows of numbers and text."""

from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from training.datasets.arrow import columns_of_arrow
from training.datasets.table import Table
from training.errors import DatasetError
from training.spec.sources import CsvSource


def read(source: CsvSource) -> Table:
    """Return the columns by their names in the header. Raises DatasetError if the file is absent or its rows are uneven."""
    path = Path(source.path)
    try:
        table = _table(path, source, {})
        dates = {field.name: pa.string() for field in table.schema if pa.types.is_temporal(field.type)}
        if dates:  # as they are written: a served row has the file's text, not that of another form of the same moment
            table = _table(path, source, dates)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.absolute()} cannot be read: {error}. Expected a CSV file in UTF-8 with a header row.") from error
    if "" in table.column_names:
        number = table.column_names.index("") + 1
        raise DatasetError(f"Column {number} of {path} has no name in the header. Name it, or leave it out of the file.")
    return Table(name=path.stem, columns=columns_of_arrow(table, str(path)))


def _table(path: Path, source: CsvSource, types: dict[str, pa.DataType]) -> pa.Table:
    convert = csv.ConvertOptions(null_values=["", *source.missing], strings_can_be_null=True, column_types=types)
    return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=source.separator), convert_options=convert)
