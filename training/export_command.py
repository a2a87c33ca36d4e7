"""`axon export`: publish a Keras model that was made elsewhere."""

import math
import re
from pathlib import Path
from typing import Any

import click
import msgspec

from training.cli import clean_exit, heavy
from training.spec.scalars import Name


def _labels(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Read `a,b,c` as the labels of the only output, and `name=a,b,c` as those of one."""
    found = {}
    for value in values:
        name, _, listed = value.rpartition("=")
        found[name] = tuple(label.strip() for label in listed.split(","))
    return found


def _name(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse what no directory of the repository can be called."""
    try:
        return msgspec.convert(value, Name | None)
    except msgspec.ValidationError as error:
        raise click.BadParameter(f"'{value}' is no model name; use letters, digits, '.', '_' and '-'.") from error


def _value_range(
    _context: click.Context, _parameter: click.Parameter, value: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Refuse what is no range."""
    if value is not None and not (value[0] < value[1] and math.isfinite(value[1] - value[0])):
        raise click.BadParameter(f"{value[0]:g} {value[1]:g} is no range; expected two finite numbers, the smaller first.")
    return value


def _finite(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    """Refuse NaN, which is in every range, and infinity, which proves nothing."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value:g} is no finite number; expected one above 0, such as 1e-05.")
    return value


def _name_of(path: Path) -> str:
    """Return the file's name without its suffix, with '-' for what a model's name cannot hold."""
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]", "-", path.resolve().stem).strip("-") or "model"


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("models"),
    show_default=True,
    help="Model repository to publish to.",
)
@click.option("--name", callback=_name, help="Name of the model; by default the file's, without its suffix.")
@click.option("--description", default="", help="What the model does, in a sentence.")
@click.option("--labels", multiple=True, callback=_labels, help="Labels of an output's entries: a,b,c, or OUTPUT=a,b,c.")
@click.option(
    "--value-range",
    type=(float, float),
    callback=_value_range,
    help="Smallest and largest value of the inputs; 0 255 for pictures.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    default=1e-5,
    show_default=True,
    help="Of parity.",
)
@click.option("--opset", type=click.IntRange(15, 18), default=18, show_default=True, help="ONNX operator set.")
@click.option("--memory-limit-mb", type=click.IntRange(min=1024), default=8192, show_default=True, help="Of the conversion.")
@click.option("--import", "modules", multiple=True, help="Module that registers the model's own layers; may be repeated.")
@click.option("--trusted", is_flag=True, help="Allow Lambda layers: code in the file is executed.")
def export(path: Path, repository: Path, name: str | None, **wishes: Any) -> None:  # noqa: ANN401 -- the options above
    """Export PATH (.keras, .h5 or a SavedModel directory) to ONNX, prove that it computes the same, and publish it."""
    with clean_exit():
        importing = heavy("training.importing")
        request = importing.Request(path=path, name=name or _name_of(path), **wishes)
        manifest = importing.publish_exported(request, repository)
        directory = repository / manifest.name / str(manifest.version)
        size = sum(file.size for file in manifest.files.values())
        click.echo(
            f"Published {manifest.name} version {manifest.version}: {directory} ({size / 1000:.0f} kB, "
            f"agrees with Keras within {manifest.parity.max_abs_error:.1e})"
        )
