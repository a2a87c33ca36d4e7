"""Ctrl-C, SIGTERM and SIGHUP as an exception that ends the work in order."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Final, Protocol

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """We were told to stop. Like KeyboardInterrupt, no `except Exception` may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopCheck(Protocol):
    """Call it to raise Stopped if we were told to stop."""

    def __call__(self) -> None:
        """Raise Stopped if we were told to stop."""

    def deferred(self) -> AbstractContextManager[None]:
        """Let nothing but a call raise Stopped in the block: for work that must not be cut at any line, but checks often."""


class _Signals:
    """What has arrived, and whether it may raise where it arrives."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._deferred = False

    def __call__(self) -> None:
        if self._received is not None:
            raise Stopped(self._received)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        before, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = before

    def arrived(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal; the ones after it are ignored, so cleaning up is undisturbed."""
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        self._received = number
        if not self._deferred:
            self()


@contextmanager
def stopped_by_signals() -> Iterator[StopCheck]:
    """Raise Stopped in the block at the first signal that means "end"; later ones are ignored.

    Python drops an exception that arrives inside a callback from C, a finalizer for example. So the block also gets a check to
    call now and then, which raises again.
    """
    signals = _Signals()
    before = {number: signal.signal(number, signals.arrived) for number in _SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Never:
    """Nobody can ask to stop."""

    def __call__(self) -> None:
        pass

    @contextmanager
    def deferred(self) -> Iterator[None]:
        yield


never: Final[StopCheck] = _Never()
