"""What stands in a store, by the rules of layout.py: which keys are the files of which version of which model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final

from service.errors import PackageError, StoreError, shown
from service.repository.layout import GRAPH_NAME, is_name, is_version
from service.repository.manifest import MANIFEST_NAME, Manifest
from service.storage.store import Store, StoredObject

CONFIGURATION_NAME: Final = "model.toml"
# Stands in a version that is being published, until its manifest is there: so that nobody takes half a package for a bare graph.
CLAIM_NAME: Final = ".publishing"
MANIFEST_LIMIT: Final = 64 << 20  # bytes
CONFIGURATION_LIMIT: Final = 1 << 20  # bytes

Tree = dict[str, "Tree | StoredObject"]


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A whole version: its files by their paths inside it. Without a manifest it is a bare graph."""

    number: int
    files: Mapping[str, StoredObject]

    @property
    def is_package(self) -> bool:
        """Whether it has a manifest."""
        return MANIFEST_NAME in self.files


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model, its versions by number, and its model.toml."""

    name: str
    versions: Mapping[int, StoredVersion]
    configuration: StoredObject | None = None


def catalogue(store: Store, *, name: str | None = None) -> dict[str, StoredModel]:
    """Return the models of a store by name; if it holds a single one at its root, as `name` or as the end of the URL.

    Raises StoreError.
    """
    root = _tree(store.list())
    if GRAPH_NAME in root or any(_versions(root)):
        name = name or store.address.model_name
        return {name: _model(store, name, root)}
    models = {key: _model(store, key, branch) for key, branch in root.items() if is_name(key) and isinstance(branch, dict)}
    if name is None:
        return models
    if name in models:
        return {name: models[name]}
    raise StoreError(
        f"There is no model '{shown(name)}' in {store.address.url}. Models there: {', '.join(sorted(models)) or 'none'}."
    )


def checked_path(path: str, place: str) -> str:
    """Return a path inside a version if it stays inside. Raises PackageError, which says that `place` names it."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ".." in parts or "\0" in path or PureWindowsPath(path).drive:
        raise PackageError(f"{place} names '{shown(path)}', which is outside the package. Publish the model again.")
    return path


def _tree(objects: Mapping[str, StoredObject]) -> Tree:
    root: Tree = {}
    for key, stored in objects.items():
        *directories, name = key.split("/")
        branch = root
        for directory in directories:
            below = branch.setdefault(directory, {})
            if isinstance(below, StoredObject):
                raise StoreError(f"'{shown(stored.key)}' lies below an object that is no directory. Remove one of them.")
            branch = below
        if isinstance(branch.get(name), dict):
            raise StoreError(f"'{shown(stored.key)}' is an object and a directory at once. Remove one of them.")
        branch[name] = stored
    return root


def _model(store: Store, name: str, branch: Tree) -> StoredModel:
    configuration = branch.get(CONFIGURATION_NAME)
    versions = dict(_versions(branch))
    if not versions and GRAPH_NAME in branch and _is_whole(branch):
        files = {path: stored for path, stored in _files(branch) if path != CONFIGURATION_NAME}
        number = _number(store, files)
        versions = {number: StoredVersion(number, files)}
    return StoredModel(name, versions, configuration if isinstance(configuration, StoredObject) else None)


def _versions(branch: Tree) -> Iterator[tuple[int, StoredVersion]]:
    for directory, below in branch.items():
        if is_version(directory) and isinstance(below, dict) and _is_whole(below):
            yield int(directory), StoredVersion(int(directory), dict(_files(below)))


def _is_whole(branch: Tree) -> bool:
    return MANIFEST_NAME in branch or (GRAPH_NAME in branch and CLAIM_NAME not in branch)


def _files(branch: Tree, prefix: str = "") -> Iterator[tuple[str, StoredObject]]:
    """Yield the files below a branch but the hidden ones."""
    for name, below in branch.items():
        if name.startswith("."):
            continue
        if isinstance(below, StoredObject):
            yield prefix + name, below
        else:
            yield from _files(below, f"{prefix}{name}/")


def _number(store: Store, files: Mapping[str, StoredObject]) -> int:
    """Return the version of a graph outside any version directory: its package's own number, or 1."""
    if MANIFEST_NAME not in files:
        return 1
    key = files[MANIFEST_NAME].key
    return Manifest.parse(store.read(key, limit=MANIFEST_LIMIT), f"{store.address.url}/{key}").version
