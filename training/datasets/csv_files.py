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
    convert = csv.ConvertOptions(null_values=["", *source.missing], strings_can_be_null=True)
    try:
        table = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=source.separator), convert_options=convert)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}. Expected a CSV file in UTF-8 with a header row.") from error
    return Table(name=path.stem, columns=columns_of_arrow(table, str(path)))
