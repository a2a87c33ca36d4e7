"""`axon pull` and `axon push`: versions from an object store into a repository, and from a repository into a store."""

from pathlib import Path

import click

from service.errors import ConfigurationError
from service.repository.layout import is_version
from service.storage.address import Address
from service.storage.pulling import ALL, LATEST
from service.storage.pulling import pull as pull_versions
from service.storage.pushing import find_local
from service.storage.pushing import push as push_version


@click.command()
@click.argument("url")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--model", help="Model to copy; its name, if URL is a single one.  [default: all]")
@click.option("--version", default=LATEST, show_default=True, help="A number, latest or all.")
def pull(url: str, directory: Path, model: str | None, version: str) -> None:
    """Copy models from the object store at URL into the repository DIRECTORY.

    URL is s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, file:///DIRECTORY or https://HOST/PATH. Files are compared
    with their checksums; a version appears whole or not at all, and one that is there is not fetched again.
    """
    if version not in {LATEST, ALL} and not is_version(version):
        raise ConfigurationError(f"--version {version} is no version. Expected a number such as 3, latest, or all.")
    for line in pull_versions(Address.parse(url), directory, model=model, version=version):
        click.echo(line)


@click.command()
@click.argument("version", metavar="DIRECTORY/NAME[/VERSION]", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("url")
def push(version: Path, url: str) -> None:
    """Publish a version of a model to the object store at URL, by default its newest.

    It is checked first. A version that is in the store never changes: another one of its number is refused.
    """
    for line in push_version(find_local(version), Address.parse(url)):
        click.echo(line)
