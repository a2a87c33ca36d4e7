"""When a checkpoint is written: as often as costs a twentieth of the time, whatever the network's size and the disk's speed."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from training.errors import FitRefused
from training.fitting.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

_TIMES_THE_COST: Final = 20  # the wait between two checkpoints, in units of what one took


@contextmanager
def sole_use(directory: Path) -> Iterator[None]:
    """Make `directory`, and keep other processes' fits out of it for the block; the system lets go when a process is killed.

    Raises FitRefused if it cannot be made, or another fit is at work in it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        reason = error.strerror or error
        raise FitRefused(f"Cannot make {directory} for the checkpoint: {reason}. Choose another workdir.") from error
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


class Saver:
    """The checkpoint of one run in one directory. One that does not keep it only reads it."""

    def __init__(self, directory: Path, run: str, *, keeps: bool = True) -> None:
        self._keeps = keeps
        self.directory = directory
        self._run = run
        self._due = 0.0

    def read(self) -> Checkpoint | None:
        """Return what an earlier process of the same run left, if any."""
        return read_checkpoint(self.directory, self._run)

    @property
    def due(self) -> bool:
        """Tell whether it is time for another."""
        return self._keeps and time.perf_counter() >= self._due

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it now."""
        if not self._keeps:
            return
        started = time.perf_counter()
        write_checkpoint(self.directory, self._run, checkpoint)
        ended = time.perf_counter()
        self._due = ended + _TIMES_THE_COST * (ended - started)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FitRefused(
            f"Another process is fitting the same run in {directory}. Wait for it, or choose another workdir."
        ) from error
    except OSError:
        return  # a file system without locks, such as NFS for a directory: nobody can be kept out
