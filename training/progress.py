"""What a person sees while training runs: a live display on a terminal, plain lines elsewhere, nothing when quiet."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PLAIN_LINES: Final = 10
_MOST_METRICS: Final = 6
Metrics = Mapping[str, float]


class Followed(Protocol):
    """Told how a fit goes; epochs count from 1."""

    def within(self, epoch: int, share: float, metrics: Metrics) -> None:
        """Take note that `share` (0 to 1) of the epoch's rows are done; the metrics are of these rows."""

    def finished(self, epoch: int, metrics: Metrics) -> None:
        """Take note that the epoch is done, validation included."""


class Display(Protocol):
    """Told of each step of the recipe, and of the epochs of the fit."""

    def step(self, text: str) -> None:
        """Say what was done, or is about to be."""

    def epochs(self, total: int, *, done: int = 0) -> AbstractContextManager[Followed]:
        """Follow a fit of at most `total` epochs, of which `done` were run before."""


class _Unseen:
    """Follows silently."""

    def within(self, epoch: int, share: float, metrics: Metrics) -> None:
        pass

    def finished(self, epoch: int, metrics: Metrics) -> None:
        pass


class QuietDisplay:
    """Shows nothing."""

    def step(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def epochs(self, total: int, *, done: int = 0) -> Iterator[Followed]:  # noqa: ARG002 -- the interface
        """Follow silently."""
        yield _Unseen()


class _Lines(_Unseen):
    """A line for the first epoch and for every tenth of the epochs."""

    def __init__(self, display: "PlainDisplay", total: int) -> None:
        self._display = display
        self._total = total
        self._every = -(-total // _PLAIN_LINES)

    def finished(self, epoch: int, metrics: Metrics) -> None:
        if epoch % self._every == 0 or epoch == 1:
            self._display.step(f"  epoch {epoch}/{self._total}  {_told(metrics)}")


class PlainDisplay:
    """Whole lines, for files and pipes: about ten of them for a fit."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        """Write one line."""
        self._console.print(text, soft_wrap=True, markup=False)

    @contextmanager
    def epochs(self, total: int, *, done: int = 0) -> Iterator[Followed]:  # noqa: ARG002 -- the interface
        """Write a line for every tenth of the epochs."""
        yield _Lines(self, total)


class _Bar:
    """Moves with every part of an epoch; its numbers are those of the running epoch, and at its end those of the validation too."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def within(self, epoch: int, share: float, metrics: Metrics) -> None:
        self._bar.update(self._task, completed=epoch - 1 + share, told=_told(metrics))

    def finished(self, epoch: int, metrics: Metrics) -> None:
        self._bar.update(self._task, completed=epoch, told=_told(metrics))


class LiveDisplay(PlainDisplay):
    """A bar that moves: epochs, metrics, time passed and time left."""

    @contextmanager
    def epochs(self, total: int, *, done: int = 0) -> Iterator[Followed]:
        """Move the bar with every part of an epoch."""
        bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        with bar:
            task = bar.add_task("epoch", total=total, completed=done, told="")
            yield _Bar(bar, task)


def choose_display(*, quiet: bool) -> Display:
    """Choose by where stderr goes; results belong on stdout, so progress does not."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        return QuietDisplay()
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


def _told(metrics: Metrics) -> str:
    return "  ".join(f"{name} {_number(value)}" for name, value in _chosen(metrics).items())


def _number(value: float) -> str:
    """Write four places, which keep columns steady; a loss in a very large or small unit would be zeros or a long row of digits."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.3e}"  # noqa: PLR2004 -- as told


def _chosen(metrics: Metrics) -> Metrics:
    """Leave out the losses of several outputs, and their training metrics where there are those of the validation."""
    if len(metrics) <= _MOST_METRICS:
        return metrics
    kept = {name: value for name, value in metrics.items() if name == "val_loss" or not name.endswith("_loss")}
    return {name: value for name, value in kept.items() if "val_loss" not in kept or name == "loss" or name.startswith("val_")}
