"""Ctrl-C under `make`: make dies of the interrupt that its whole process group gets, whatever its recipe makes of it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_terminal() -> Iterator[None]:
    """Take the terminal's foreground for the block, so that Ctrl-C reaches this process alone and its exit status counts.

    Does nothing without a terminal, in the background, or for a process that a shell has started by itself.
    """
    if not _started_by_other_foreground_job():
        yield
        return
    before = os.getpgrp()
    os.setpgid(0, 0)
    _give_foreground(os.getpgrp())
    try:
        yield
    finally:
        _give_foreground(before)


def _started_by_other_foreground_job() -> bool:
    try:
        return sys.stdin.isatty() and os.getpgrp() != os.getpid() and os.tcgetpgrp(0) == os.getpgrp()
    except (OSError, ValueError):
        return False


def _give_foreground(group: int) -> None:
    previous = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a background group may not touch the terminal otherwise
    try:
        os.tcsetpgrp(0, group)
    except OSError:
        pass  # the group or the terminal is gone, and so is the need
    finally:
        signal.signal(signal.SIGTTOU, previous)
