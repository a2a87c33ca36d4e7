"""Where graphs are written before they are published."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.repository.scratch import scratch
from training.errors import ExportFailed

_PREFIX: Final = "axon-export-"


@contextmanager
def export_scratch() -> Iterator[Path]:
    """Give a temporary directory for the block. Raises ExportFailed if the disk refuses it, or what is written there."""
    try:
        with scratch(Path(tempfile.gettempdir()), _PREFIX) as directory:
            yield directory
    except OSError as error:
        raise ExportFailed(
            f"its files cannot be written to {error.filename or 'the directory of temporary files'}: {error.strerror or error}. "
            "Free some space there, or set TMPDIR to a directory that has some, and run the command again."
        ) from error
