import io

import pytest

rich = pytest.importorskip("rich.console", reason="needs the train extra")

from training.progress import LiveDisplay, PlainDisplay, QuietDisplay  # noqa: E402 -- after the check

METRICS = {"loss": 0.5, "val_accuracy": 0.75}


def test_plain_display_writes_the_first_and_every_tenth_of_the_epochs() -> None:
    out = io.StringIO()

    with PlainDisplay(rich.Console(file=out, width=200)).epochs(30) as followed:
        for epoch in range(1, 31):
            followed.within(epoch, 0.5, METRICS)
            followed.finished(epoch, METRICS)

    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/30", *(f"{number}/30" for number in range(3, 31, 3))]
    assert lines[0] == "  epoch 1/30  loss 0.5000  val_accuracy 0.7500"


def test_loss_in_a_large_or_small_unit_is_told_in_powers_of_ten() -> None:
    out = io.StringIO()

    with PlainDisplay(rich.Console(file=out, width=200)).epochs(1) as followed:
        followed.finished(1, {"loss": 2.9647e24, "val_loss": 1.5e-18, "mae": 0.0})

    assert out.getvalue() == "  epoch 1/1  loss 2.965e+24  val_loss 1.500e-18  mae 0.0000\n"


def test_live_display_moves_within_an_epoch_and_begins_where_a_resumed_fit_does() -> None:
    out = io.StringIO()
    display = LiveDisplay(rich.Console(file=out, width=200, force_terminal=True))

    with display.epochs(8, done=2) as followed:
        task = followed._bar.tasks[0]
        begun = task.completed
        followed.within(3, 0.25, METRICS)
        within = task.completed
        followed.finished(3, METRICS)

    assert (begun, within, task.completed) == (2, 2.25, 3)
    assert "3/8" in out.getvalue()
    assert "loss 0.5000" in out.getvalue()


def test_quiet_display_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    display = QuietDisplay()

    display.step("unseen")
    with display.epochs(2) as followed:
        followed.within(1, 0.5, METRICS)
        followed.finished(1, METRICS)

    assert capfd.readouterr() == ("", "")
