"""`axon models`: look into a repository and look after it, without a server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from service.errors import AxonError
from service.repository import maintenance
from service.repository.comparison import differences
from service.repository.description import describe, listing
from service.repository.layout import find_models

Command = Callable[..., Any]


def _repository(command: Command) -> Command:
    return click.option(
        "--repository",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("models"),
        show_default=True,
        help="Model repository.",
    )(command)


@click.group()
def models() -> None:
    """List, compare, check, roll back and prune the models of a repository.

    A version is named MODEL/VERSION, digits/3 for example; MODEL alone is its newest.
    """


@models.command("list")
@_repository
def list_models(repository: Path) -> None:
    """List the models: versions, size, age, task and key metric of the newest."""
    for line in listing(repository):
        click.echo(line)


@models.command()
@click.argument("version")
@_repository
def show(version: str, repository: Path) -> None:
    """Show what is in VERSION and where it came from."""
    for line in describe(maintenance.find_version(repository, version)):
        click.echo(line)


@models.command()
@click.argument("before")
@click.argument("after")
@_repository
def diff(before: str, after: str, repository: Path) -> None:
    """Show what changed from version BEFORE to version AFTER: metrics, signature, spec, dataset, tools."""
    for line in differences(maintenance.find_version(repository, before), maintenance.find_version(repository, after)):
        click.echo(line)


@models.command()
@click.argument("version", required=False)
@_repository
def verify(version: str | None, repository: Path) -> None:
    """Check the files of VERSION (MODEL alone: all its versions; nothing: all models) by their checksums; exit 1 on damage."""
    damaged = 0
    for reference, directory in _chosen(repository, version):
        try:
            files = maintenance.verify(directory)
        except AxonError as error:
            damaged += 1
            click.echo(f"{reference}  DAMAGED  {error}")
        else:
            checked = "no manifest, nothing to check" if files is None else f"ok  {files} file{'s' if files != 1 else ''}"
            click.echo(f"{reference}  {checked}")
    if damaged:
        raise click.exceptions.Exit(1)


@models.command()
@click.argument("model")
@click.option("--to", type=click.IntRange(min=1), help="Version to go back to.  [default: the one before the newest]")
@_repository
def rollback(model: str, to: int | None, repository: Path) -> None:
    """Publish a copy of an older version of MODEL as its next version."""
    manifest = maintenance.roll_back(repository, model, to=to)
    before = manifest.rolled_back
    click.echo(f"Published {model}/{manifest.version}, a copy of {model}/{before['to']}, in place of {model}/{before['from']}.")


@models.command()
@click.argument("model")
@click.option("--keep", type=click.IntRange(min=1), required=True, help="How many of the newest versions stay.")
@_repository
def prune(model: str, keep: int, repository: Path) -> None:
    """Delete old versions of MODEL; the newest always stays."""
    removed = maintenance.prune(repository, model, keep=keep)
    click.echo(f"Removed {', '.join(f'{model}/{number}' for number in removed)}." if removed else "Nothing to remove.")


def _chosen(repository: Path, version: str | None) -> list[tuple[str, Path]]:
    name, number = maintenance.parse_reference(version or "")
    if number:
        return [(f"{name}/{number}", maintenance.find_directory(repository, name, number)[1])]
    chosen = find_models(repository) if version is None else [maintenance.find_model(repository, name)]
    return [(f"{model.name}/{number}", directory) for model in chosen for number, directory in model.versions.items()]
