"""Arrow IPC: files (Feather version 2 is one) and streams."""

from pathlib import Path

import pyarrow as pa

from training.datasets.arrow import columns_of_arrow
from training.datasets.table import Table
from training.errors import DatasetError
from training.spec.sources import ArrowSource


def read(source: ArrowSource) -> Table:
    """Return the columns of the file. Raises DatasetError if it cannot be read."""
    path = Path(source.path)
    try:
        with pa.memory_map(str(path)) as stream:
            table = _table(stream)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path.absolute()} cannot be read: {error}. Expected an Arrow IPC file, Feather version 2 or a stream."
        ) from error
    return Table(name=path.stem, columns=columns_of_arrow(table, str(path)))


def _table(stream: pa.MemoryMappedFile) -> pa.Table:
    """Read a file, which starts with the magic word ARROW1, or else a stream."""
    magic = stream.read(6)
    stream.seek(0)
    return pa.ipc.open_file(stream).read_all() if magic == b"ARROW1" else pa.ipc.open_stream(stream).read_all()
