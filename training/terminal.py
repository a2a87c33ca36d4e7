"""Be the one whom Ctrl-C reaches: a process group of our own, in the terminal's foreground."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def own_terminal() -> Iterator[None]:
    """Take the terminal's foreground from the parent for the block, so that Ctrl-C ends us and not the parent with us.

    GNU make exits with 130 when Ctrl-C reaches its group, however well its recipe ends. Does nothing if stdin is no terminal, if
    we are in its background, or lead our group already. Ctrl-Z is ignored meanwhile: the shell waits for make and cannot wake us.
    """
    descriptor = _foreground_terminal()
    if descriptor is None or os.getpgrp() == os.getpid():
        yield
        return
    parents = os.getpgrp()
    ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTTOU, signal.SIGTSTP)}
    os.setpgid(0, 0)
    os.tcsetpgrp(descriptor, os.getpgrp())
    try:
        yield
    finally:
        with suppress(OSError):  # the terminal or the parent may be gone
            os.tcsetpgrp(descriptor, parents)
        with suppress(OSError):
            os.setpgid(0, parents)
        for number, handler in ignored.items():
            signal.signal(number, handler)


def _foreground_terminal() -> int | None:
    """Return stdin's descriptor if it is a terminal with us in its foreground."""
    try:
        descriptor = sys.stdin.fileno()
        return descriptor if os.tcgetpgrp(descriptor) == os.getpgrp() else None
    except (AttributeError, OSError, ValueError):  # no stdin, no terminal, or closed
        return None
