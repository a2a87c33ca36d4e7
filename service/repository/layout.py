"""Where things are in a repository: `<root>/<name>/<version>/model.onnx`. Reading, and publishing a new version.

A directory with a bare `model.onnx`, or with version directories in it, is also a repository: of one model, under a given name.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from service.errors import ConfigurationError, InvalidName, PackageError, shown
from service.repository.manifest import MANIFEST_NAME, FileDigest, Manifest
from service.repository.scratch import scratch

GRAPH_NAME = "model.onnx"
STAGING = ".staging-"
DEFAULT_MODEL_NAME = "model"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class ModelDirectory(msgspec.Struct, frozen=True):
    """One model of a repository: its name, the directory of `model.toml`, and its version directories by number."""

    name: str
    path: Path
    versions: dict[int, Path]


def checked_name(name: str) -> str:
    """Return `name` if a model can be called so, else raise InvalidName."""
    if _NAME.fullmatch(name) is None:
        raise InvalidName(
            f"'{shown(name)}' is not a model name. Use letters, digits, '.', '_' and '-', the first a letter or digit."
        )
    return name


def is_name(text: str) -> bool:
    """Say whether a model can be called so."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Say whether a directory of this name can be a version."""
    return _VERSION.fullmatch(text) is not None


def find_models(root: Path, *, model_name: str | None = None) -> list[ModelDirectory]:
    """List the models of a repository, by name.

    A directory with no manifest and no `model.onnx` is no version yet; one that may not be looked into is taken for a version, and
    loading it says what is wrong. If `root` itself is one model (a bare graph or version
    directories), it is listed alone as `model_name`, or as the directory's name. Raises ConfigurationError if `root` is none.
    """
    if not root.is_dir():
        raise ConfigurationError(f"The model repository {root} is not a directory.")
    if (root / GRAPH_NAME).is_file():
        return [ModelDirectory(_single_name(root, model_name), root, {_bare_version(root): root})]
    if versions := find_versions(root):
        return [ModelDirectory(_single_name(root, model_name), root, versions)]
    models = [
        ModelDirectory(path.name, path, _bare_or_versions(path))
        for path in sorted(root.iterdir())
        if _NAME.fullmatch(path.name) and _may_be(path.is_dir)
    ]
    if model_name is None:
        return models
    if len(models) != 1:
        raise ConfigurationError(f"{root} holds {len(models)} models; a model name can be given only to a single one.")
    return [ModelDirectory(checked_name(model_name), models[0].path, models[0].versions)]


def find_versions(model_directory: Path) -> dict[int, Path]:
    """List the complete versions of a model, oldest first: integer directories that hold a manifest or a bare graph."""
    found = {
        int(path.name): path
        for path in model_directory.iterdir()
        if _VERSION.fullmatch(path.name) and (_may_be((path / MANIFEST_NAME).is_file) or _may_be((path / GRAPH_NAME).is_file))
    }
    return dict(sorted(found.items()))


@contextmanager
def staged(model_directory: Path) -> Iterator[Path]:
    """Give an empty directory beside the versions to fill; what is left of it, or of a killed publisher's, is removed."""
    model_directory.mkdir(parents=True, exist_ok=True)
    with scratch(model_directory, STAGING) as staging:
        staging.chmod(0o755)
        yield staging


def publish(staging: Path, model_directory: Path, **facts: Any) -> Manifest:  # noqa: ANN401 -- the fields of Manifest
    """Turn a filled staging directory into the next version of the model and return its manifest.

    `facts` are the fields of Manifest other than name, version, created and files. The manifest is written last and the
    directory renamed into place: a reader sees a whole version or none. Publishers at the same time get different numbers.
    """
    files = {path.relative_to(staging).as_posix(): FileDigest.of(path) for path in sorted(staging.rglob("*")) if path.is_file()}
    if GRAPH_NAME not in files:
        raise PackageError(f"There is no {GRAPH_NAME} in {staging}; a package without a graph cannot be published.")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    name = checked_name(model_directory.name)
    while True:
        version = max(_taken_versions(model_directory), default=0) + 1
        manifest = Manifest(name=name, version=version, created=created, files=files, **facts)
        manifest.write(staging)
        if place(staging, model_directory / str(version)):
            return manifest


def place(staging: Path, version_directory: Path) -> bool:
    """Rename a filled staging directory into place; return False if there is a version of this number already."""
    _sync(staging)
    try:
        staging.rename(version_directory)
    except OSError:
        if not version_directory.exists():
            raise
        return False
    _sync_directory(version_directory.parent)
    return True


def _taken_versions(model_directory: Path) -> Iterator[int]:
    return (int(path.name) for path in model_directory.iterdir() if _VERSION.fullmatch(path.name))


def _may_be(question: Callable[[], bool]) -> bool:
    """Return the answer, or True if it is not allowed to ask: one directory of another user must not hide those beside it."""
    try:
        return question()
    except OSError:
        return True


def _single_name(root: Path, model_name: str | None) -> str:
    if model_name is not None:
        return checked_name(model_name)
    name = root.resolve().name
    return name if _NAME.fullmatch(name) else DEFAULT_MODEL_NAME


def _bare_or_versions(model_directory: Path) -> dict[int, Path]:
    try:
        versions = find_versions(model_directory)
    except OSError:  # unreadable: a model without versions, as far as can be seen
        return {}
    if not versions and (model_directory / GRAPH_NAME).is_file():
        return {_bare_version(model_directory): model_directory}
    return versions


def _bare_version(directory: Path) -> int:
    """Version of a model whose graph stands outside any version directory: the package's own number, or 1."""
    try:
        return Manifest.read(directory).version
    except PackageError:  # none there, or a damaged one: loading reports that
        return 1


def _sync(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            _sync_directory(path)
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
