"""Directories to work in: removed at the end, and those of killed processes by the next one that needs the like."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_REMOVED = "-removed"


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Give an empty directory in `parent` that is removed at the end of the block, if it is still there.

    A directory in use is locked, and the system lets go of the lock when a process is killed: that is how others see what is
    left over. Where a file system knows no locks, leftovers stay.
    """
    clear_abandoned(parent, prefix)
    directory, descriptor = _claimed(parent, prefix)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def clear_abandoned(parent: Path, prefix: str) -> None:
    """Remove the directories of this kind whose processes are gone.

    Each is renamed first, so that even where a lock lies nobody can publish one that is half removed.
    """
    for leftover in parent.glob(f"{prefix}*"):
        with suppress(OSError):  # in use, another user's, or gone by now
            descriptor = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                grave = leftover.with_name(leftover.name.removesuffix(_REMOVED) + _REMOVED)
                leftover.rename(grave)
                shutil.rmtree(grave)
            finally:
                os.close(descriptor)


def _claimed(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a directory and lock it; one that another process took for abandoned before it was locked is left to that one."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            descriptor = os.open(directory, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if _lock(descriptor) and directory.is_dir():
            return directory, descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Say whether nobody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return True
    return True
