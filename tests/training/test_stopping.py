import os
import signal

import pytest

from training.stopping import Stopped, never, stopped_by_signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["Ctrl-C", "SIGTERM", "SIGHUP"]
)
def test_signal_ends_the_block_with_the_usual_exit_code(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)

    with pytest.raises(Stopped) as caught, stopped_by_signals():
        os.kill(os.getpid(), number)

    assert caught.value.exit_code == code
    assert signal.getsignal(number) is before


def test_stop_that_foreign_code_swallowed_is_raised_again() -> None:
    """As when the signal arrives while Python runs a finalizer."""
    with stopped_by_signals() as stop:
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped):
            stop()


def test_check_is_silent_while_nobody_asks_to_stop() -> None:
    with stopped_by_signals() as stop:
        stop()


def test_second_signal_does_not_disturb_cleaning_up() -> None:
    with stopped_by_signals():
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)

        os.kill(os.getpid(), signal.SIGINT)


def test_stop_in_a_deferred_block_waits_for_the_next_check() -> None:
    reached = []

    with stopped_by_signals() as stop, pytest.raises(Stopped), stop.deferred():  # noqa: PT012 -- the order is the point
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("the line after the signal")
        stop()
        reached.append("the line after the check")

    assert reached == ["the line after the signal"]


def test_nobody_can_stop_what_never_stops() -> None:
    with never.deferred():
        never()
