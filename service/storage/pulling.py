"""`axon pull`: models of a store into a local repository."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from service.errors import PackageError, StoreError
from service.repository.layout import GRAPH_NAME, checked_name
from service.repository.manifest import MANIFEST_NAME, Manifest
from service.storage.address import Address
from service.storage.catalogue import MANIFEST_LIMIT, StoredModel, StoredVersion, catalogue
from service.storage.fetching import fetch_configuration, fetch_version
from service.storage.origin import Origin
from service.storage.store import Store, StoredObject

LATEST: Final = "latest"
ALL: Final = "all"


def pull(address: Address, directory: Path, *, model: str | None, version: str) -> Iterator[str]:
    """Copy versions below `directory` and yield a line about each: the newest of each model, all, or the one of this number.

    A version that is there as it is in the store is not fetched again. Raises StoreError, PackageError.
    """
    store = Store(address)
    for found in _models(store, model, version).values():
        chosen = _chosen(found, version)
        local = directory / checked_name(found.name)
        for stored in chosen:
            yield f"{found.name}/{stored.number}  {_pull(store, stored, local)}"
        if chosen and fetch_configuration(store, found, local):
            yield f"{found.name}/model.toml  fetched"


def _models(store: Store, model: str | None, version: str) -> Mapping[str, StoredModel]:
    try:
        found = catalogue(store, name=model)
    except StoreError as error:
        if store.address.kind != "HTTP":
            raise
        if model is None or version in {LATEST, ALL}:
            raise StoreError(
                f"{store.address.url} cannot be listed, as a plain web server cannot. Name one package: --model NAME --version N."
            ) from error
        return {model: _named(store, checked_name(model), int(version))}
    if not found:
        raise StoreError(f"There is no model in {store.address.url}. Expected keys such as digits/1/model.onnx below it.")
    return found


def _named(store: Store, model: str, number: int) -> StoredModel:
    """Find a package without a listing: its manifest says which files there are."""
    prefix = f"{model}/{number}/"
    manifest = Manifest.parse(
        store.read(prefix + MANIFEST_NAME, limit=MANIFEST_LIMIT), f"{store.address.url}/{prefix}{MANIFEST_NAME}"
    )
    files = {name: StoredObject(prefix + name, digest.size, None) for name, digest in manifest.files.items()}
    files[MANIFEST_NAME] = StoredObject(prefix + MANIFEST_NAME, 0, None)
    return StoredModel(model, {number: StoredVersion(number, files)})


def _chosen(model: StoredModel, version: str) -> list[StoredVersion]:
    versions = dict(sorted(model.versions.items()))
    if version == ALL:
        return list(versions.values())
    if version == LATEST:
        return list(versions.values())[-1:]
    if int(version) not in versions:
        known = ", ".join(map(str, versions)) or "none"
        raise StoreError(f"Model '{model.name}' has no version '{version}' in the store. Versions there: {known}.")
    return [versions[int(version)]]


def _pull(store: Store, version: StoredVersion, local: Path) -> str:
    """Fetch a version unless it is there; say what was done."""
    directory = local / str(version.number)
    problem = _difference(store, version, directory) if directory.exists() else None
    if directory.exists() and problem is None:
        return "is there already"
    fetch_version(store, version, local)
    files = sum(1 for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    checked = "checked" if version.is_package else f"a bare {GRAPH_NAME}, nothing to check"
    return f"fetched, {files} file{'s' if files != 1 else ''}, {checked}" + (
        f" (in place of one that was damaged: {problem})" if problem else ""
    )


def _difference(store: Store, version: StoredVersion, directory: Path) -> str | None:
    """Return what is damaged in a version here, None if nothing is. Raises PackageError if it is whole, but another one."""
    origin = Origin.read(directory)
    try:
        if version.is_package and (directory / MANIFEST_NAME).is_file():
            Manifest.read(directory).verify(directory)
            same = (directory / MANIFEST_NAME).read_bytes() == store.read(version.files[MANIFEST_NAME].key, limit=MANIFEST_LIMIT)
        elif origin is not None:
            origin.verify(directory)
            same = origin.is_of(version)
        else:
            same = False
    except PackageError as error:
        return str(error)
    if same:
        return None
    raise PackageError(
        f"{directory} is another version {version.number} than the one in {store.address.url}: versions never change. "
        "Move the one here away, or publish the other under a new number."
    )
