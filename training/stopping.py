"""Ctrl-C, SIGTERM and SIGHUP as an exception that ends the work in order."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Raises Stopped if we were told to stop.
StopCheck = Callable[[], None]


class Stopped(BaseException):
    """We were told to stop. Like KeyboardInterrupt, no `except Exception` may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def stopped_by_signals() -> Iterator[StopCheck]:
    """Raise Stopped in the block at the first signal that means "end"; later ones are ignored, so cleaning up is undisturbed.

    Python drops an exception that arrives inside a callback from C, a finalizer for example. So the block also gets a function to
    call now and then, which raises again.
    """
    received: list[int] = []

    def check() -> None:
        if received:
            raise Stopped(received[0])

    def stop(number: int, _frame: FrameType | None) -> None:
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        received.append(number)
        check()

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def never() -> None:
    """Check for a stop that nobody can ask for."""
