"""numpy's .npz archives. Nothing in them is unpickled."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from training.datasets.table import Table, columns
from training.errors import DatasetError
from training.spec.sources import NpzSource


def read(source: NpzSource) -> Table:
    """Return each array as a column. Raises DatasetError if the archive cannot be read or its arrays differ in length."""
    path = Path(source.path)
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(
            f"{path.absolute()} cannot be read: {error}. Expected a .npz archive of plain arrays (text as unicode)."
        ) from error
    return Table(name=path.stem, columns=columns(arrays, str(path)))
