"""What a person sees while training runs: a live display on a terminal, plain lines elsewhere, nothing when quiet."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PLAIN_LINES: Final = 10

# Called as an epoch ends, with its number counted from 1 and its metrics by name.
EpochFinished = Callable[[int, Mapping[str, float]], None]


class Display(Protocol):
    """Told of each step of the recipe, and of the epochs of the fit."""

    def step(self, text: str) -> None:
        """Say what was done, or is about to be."""

    def epochs(self, total: int) -> AbstractContextManager[EpochFinished]:
        """Follow a fit of at most `total` epochs."""


class QuietDisplay:
    """Shows nothing."""

    def step(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def epochs(self, total: int) -> Iterator[EpochFinished]:  # noqa: ARG002 -- the interface
        """Follow silently."""
        yield lambda _epoch, _metrics: None


class PlainDisplay:
    """Whole lines, for files and pipes: about ten of them for a fit."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        """Write one line."""
        self._console.print(text, soft_wrap=True, markup=False)

    @contextmanager
    def epochs(self, total: int) -> Iterator[EpochFinished]:
        """Write a line for every tenth of the epochs."""
        every = -(-total // _PLAIN_LINES)

        def finished(epoch: int, metrics: Mapping[str, float]) -> None:
            if epoch % every == 0 or epoch == 1:
                self.step(f"  epoch {epoch}/{total}  {_told(metrics)}")

        yield finished


class LiveDisplay(PlainDisplay):
    """A bar that moves: epochs, metrics, time passed and time left."""

    @contextmanager
    def epochs(self, total: int) -> Iterator[EpochFinished]:
        """Move the bar with every epoch."""
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
            task = bar.add_task("epoch", total=total, told="")
            yield lambda epoch, metrics: bar.update(task, completed=epoch, told=_told(metrics))


def choose_display(*, quiet: bool) -> Display:
    """Choose by where stderr goes; results belong on stdout, so progress does not."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        return QuietDisplay()
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


def _told(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
