"""`axon train` and `axon demo`. Starts in milliseconds: what imports TensorFlow is loaded when the command runs."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

import click

from training import demo as demonstration
from training.errors import TrainingError
from training.noise import without_startup_notices
from training.spec_file import read_spec
from training.stopping import StopCheck, Stopped, stopped_by_signals

_TRAIN_EXTRA: Final = ("google", "keras", "onnx", "rich", "sklearn", "tensorflow", "tf2onnx")


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("models"),
    show_default=True,
    help="Model repository to publish to.",
)
@click.option("--quiet", is_flag=True, help="Show no progress, only the result.")
def train(spec: Path, repository: Path, *, quiet: bool) -> None:
    """Train the model that the TOML file SPEC describes and publish it as its next version."""
    with _clean_exit() as stop:
        parsed = read_spec(spec)
        display = _heavy("training.progress").choose_display(quiet=quiet)
        display.step(f"Training {parsed.name} from {spec} with seed {parsed.seed}")
        manifest = _heavy("training.pipeline").train(parsed, repository, display, stop=stop)
        directory = repository / manifest.name / str(manifest.version)
        size = sum(file.size for file in manifest.files.values())
        click.echo(f"Published {manifest.name} version {manifest.version}: {directory} ({size / 1000:.0f} kB)")


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".axon/models"),
    show_default=True,
    help="Model repository to publish to and to serve.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port to listen on.")
def demo(spec: Path, repository: Path, host: str, port: int) -> None:
    """Train SPEC, serve it, classify a held-out row over HTTP, and keep serving until Ctrl-C."""
    with _clean_exit():
        demonstration.run(spec, repository, demonstration.Address(host, port))


@contextmanager
def _clean_exit() -> Iterator[StopCheck]:
    """End with one line and an exit code: 1 for an error, 130 for Ctrl-C, 143 for SIGTERM; never a traceback for those."""
    try:
        with stopped_by_signals() as stop:
            yield stop
    except Stopped as stopped:
        click.echo("axon: Stopped. Nothing was published.", err=True)
        sys.exit(stopped.exit_code)
    except TrainingError as error:
        click.echo(f"axon: {error}", err=True)
        sys.exit(1)


def _heavy(name: str) -> ModuleType:
    """Import a module that needs the train extra, without TensorFlow's notices. Raises TrainingError if the extra is missing."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    try:
        with without_startup_notices():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _TRAIN_EXTRA:
            raise
        raise TrainingError(
            f"Training needs the package '{error.name}', which is not installed. Run: pip install 'axon-serving[train]'"
        ) from error
