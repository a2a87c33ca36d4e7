"""Files that nobody but the user of this process can have written."""

import logging
import os
import stat
from pathlib import Path
from typing import Final

logger = logging.getLogger("axon.cache")

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def private_directory(path: Path) -> Path | None:
    """Return a directory for private files, made if it is not there; None, with a warning, if it cannot be used or trusted."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(path)
    except OSError as error:
        logger.warning("nothing is kept in the cache directory %s: %s", path, error.strerror or error)
        return None
    return path


def check_private(path: Path) -> None:
    """Raise PermissionError if somebody else may have written a file or directory, FileNotFoundError if it is not there."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise PermissionError(1, "it is a symbolic link")
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
        raise PermissionError(1, "it must belong to the user of the server and be writable for nobody else (chmod go-w)")
