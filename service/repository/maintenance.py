"""Look after a repository: find a version by its reference, check it, publish an old one again, remove those of no more use."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from service.errors import ConfigurationError, ModelNotFound, PackageError, shown
from service.repository.layout import STAGING, ModelDirectory, find_models, publish, staged
from service.repository.manifest import MANIFEST_NAME, Manifest
from service.repository.scratch import clear_abandoned

_REMOVED: Final = ".removed-"
# What publishing decides anew; the rest of a manifest goes with the graph.
_PUBLISHING: Final = ("name", "version", "created", "files", "format", "rolled_back")


class Version(msgspec.Struct, frozen=True):
    """One version on disk. A bare graph has no manifest."""

    model: str
    number: int
    directory: Path
    manifest: Manifest | None

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.directory.rglob("*") if path.is_file())

    @property
    def reference(self) -> str:
        """How a person names it: `digits/3`."""
        return f"{self.model}/{self.number}"


def find_model(root: Path, name: str) -> ModelDirectory:
    """Return a model of the repository. Raises ModelNotFound."""
    models = {model.name: model for model in find_models(root)}
    if name not in models:
        raise ModelNotFound(name, models)
    return models[name]


def find_version(root: Path, reference: str) -> Version:
    """Return the version that `digits/3` names, or the newest one of `digits`.

    Raises ModelNotFound, ConfigurationError if there is no such version, PackageError if its manifest is damaged.
    """
    name, wanted = parse_reference(reference)
    number, directory = find_directory(root, name, wanted)
    manifest = Manifest.read(directory) if (directory / MANIFEST_NAME).is_file() else None
    return Version(name, number, directory, manifest)


def parse_reference(reference: str) -> tuple[str, str]:
    """Return name and version of `digits/3`, the version "" of `digits`. Raises ConfigurationError for `digits/`."""
    name, slash, wanted = reference.partition("/")
    if slash and not wanted:
        raise ConfigurationError(
            f"'{shown(reference)}' names no version. Expected MODEL/VERSION, '{shown(name)}/1' for example, or MODEL alone, "
            f"'{shown(name)}'."
        )
    return name, wanted


def find_directory(root: Path, name: str, wanted: str = "") -> tuple[int, Path]:
    """Return the number and the directory of a version, by default the newest. Raises ModelNotFound, ConfigurationError."""
    versions = find_model(root, name).versions
    if not versions:
        raise ConfigurationError(f"Model '{name}' in {root} has no version yet. Publish one first.")
    numbers = {str(number): number for number in versions}
    if wanted and wanted not in numbers:
        raise ConfigurationError(f"Model '{name}' in {root} has no version '{wanted}'. Expected one of {', '.join(numbers)}.")
    number = numbers[wanted] if wanted else max(versions)
    return number, versions[number]


def verify(directory: Path) -> int | None:
    """Compare every file of a version with its checksum and return how many; None if there is no manifest to compare with.

    Raises PackageError, naming the file, on the first that is missing or changed.
    """
    if not (directory / MANIFEST_NAME).is_file():
        return None
    manifest = Manifest.read(directory)
    manifest.verify(directory)
    return len(manifest.files)


def roll_back(root: Path, name: str, *, to: int | None = None) -> Manifest:
    """Publish a copy of version `to` (default: the one before the newest) as the next version, and return its manifest.

    Versions never change, so the faulty one stays. The copy is checked first. Raises ModelNotFound, ConfigurationError if there
    is no such version or nothing before the newest, and PackageError if the version is damaged or has no manifest.
    """
    model = find_model(root, _model_alone(name))
    numbers = list(model.versions)
    if to is None and len(numbers) < 2:  # noqa: PLR2004 -- the newest and one before it
        raise ConfigurationError(f"Model '{name}' has {len(numbers)} version(s); expected an older one to go back to.")
    source = find_version(root, f"{name}/{numbers[-2] if to is None else to}")
    if source.manifest is None:
        raise PackageError(f"{source.directory} has no {MANIFEST_NAME}, so it cannot be copied as a version. Publish it first.")
    source.manifest.verify(source.directory)
    facts = {field: getattr(source.manifest, field) for field in Manifest.__struct_fields__ if field not in _PUBLISHING}
    try:
        with staged(model.path) as staging:
            _copy(source.directory, staging, source.manifest)
            return publish(staging, model.path, rolled_back={"from": numbers[-1], "to": source.number}, **facts)
    except OSError as error:
        raise PackageError(f"Cannot publish to {model.path}: {error.strerror or error}. Nothing was published.") from error


def prune(root: Path, name: str, *, keep: int) -> list[int]:
    """Remove all but the `keep` newest versions (at least one) and return the numbers removed, oldest first.

    Each is renamed away before it is deleted, so that a reader sees a whole version or none; what an earlier prune or a
    publisher was killed in the middle of is deleted too. Raises ModelNotFound, and ConfigurationError if `keep` is below 1.
    """
    if keep < 1:
        raise ConfigurationError(f"keep = {keep}; expected at least 1: the newest version is never removed.")
    model = find_model(root, _model_alone(name))
    removed = []
    for number, directory in list(model.versions.items())[:-keep]:
        remove_version(directory)
        removed.append(number)
    for leftover in _leftovers(model.path):
        shutil.rmtree(leftover, ignore_errors=True)
    clear_abandoned(model.path, STAGING)
    return removed


def remove_version(directory: Path) -> None:
    """Rename a version away and delete it: a reader sees a whole one or none. Raises PackageError."""
    try:
        grave = Path(tempfile.mkdtemp(prefix=f"{_REMOVED}{directory.name}-", dir=directory.parent))
        directory.rename(grave)  # an empty directory is replaced in one step
        shutil.rmtree(grave)
    except FileNotFoundError:
        return  # another prune was faster
    except OSError as error:
        raise PackageError(f"Cannot remove {directory}: {error.strerror or error}.") from error


def _model_alone(reference: str) -> str:
    """Return the name of a model. Raises ConfigurationError if a version is named with it."""
    name, wanted = parse_reference(reference)
    if wanted:
        raise ConfigurationError(f"'{shown(reference)}' names a version; expected a model alone, '{shown(name)}'.")
    return name


def _copy(source: Path, target: Path, manifest: Manifest) -> None:
    try:
        for file in manifest.files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, target / file)
    except OSError as error:
        raise PackageError(f"Cannot copy {source}: {error.strerror or error}. Nothing was published.") from error


def _leftovers(model_directory: Path) -> Iterator[Path]:
    return model_directory.glob(f"{_REMOVED}*")
