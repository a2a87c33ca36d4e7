"""Parquet files."""

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from training.datasets.arrow import columns_of_arrow
from training.datasets.table import Table
from training.errors import DatasetError
from training.spec.sources import ParquetSource


def read(source: ParquetSource) -> Table:
    """Return the columns of a file, or of a directory of files. Raises DatasetError if it cannot be read."""
    path = Path(source.path)
    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path.absolute()} cannot be read: {error}. Expected a Parquet file, or a directory of them."
        ) from error
    return Table(name=path.stem, columns=columns_of_arrow(table, str(path)))
