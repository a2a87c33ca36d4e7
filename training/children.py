"""Child processes that end with their parent."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

_PATIENCE: Final = 20.0  # seconds that a child may take to end by itself
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


@contextmanager
def child(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a session of its own, where the terminal's signals do not reach it; at the end of the block it is ended.

    It gets SIGTERM, and SIGKILL if it is still there after 20 seconds. On Linux it gets SIGTERM too if we are killed.
    """
    with subprocess.Popen(  # noqa: S603 -- the command is ours
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent(),  # noqa: PLW1509 -- we run no threads
    ) as process:
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def _end_with_parent() -> Callable[[], None] | None:
    """Return what a new child must call to be sent SIGTERM when its parent dies; only Linux offers it."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
