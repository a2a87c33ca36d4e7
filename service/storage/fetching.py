"""From a store into a local repository: a version is fetched beside, checked, and renamed into place."""

import os
from pathlib import Path

from service.errors import ObjectMissing, PackageError, StoreError
from service.repository.layout import place, staged
from service.repository.maintenance import remove_version
from service.repository.manifest import MANIFEST_NAME, FileDigest, Manifest
from service.storage.catalogue import (
    CONFIGURATION_LIMIT,
    CONFIGURATION_NAME,
    MANIFEST_LIMIT,
    StoredModel,
    StoredVersion,
    checked_path,
)
from service.storage.origin import Origin
from service.storage.store import Store


def fetch_version(store: Store, version: StoredVersion, model_directory: Path) -> None:
    """Put a version into the directory of its model, in place of what has its number there.

    Its files are compared with its manifest, which is written last; a bare graph is taken as it is. Raises PackageError if the
    version is not what it should be, StoreError if the store fails: then what was there is there still.
    """
    target = model_directory / str(version.number)
    try:
        with staged(model_directory) as staging:
            names = _fetch_package(store, version, staging) if version.is_package else _fetch_files(store, version, staging)
            Origin.of(version, names, staging).write(staging)
            if target.exists():
                remove_version(target)
            if not place(staging, target):
                raise PackageError(f"{target} has been put there by another process meanwhile. Try again.")
    except OSError as error:
        raise StoreError(f"Cannot write to {model_directory}: {error.strerror or error}. Nothing was changed.") from error


def fetch_configuration(store: Store, model: StoredModel, model_directory: Path) -> bool:
    """Bring model.toml to what is in the store; return whether it was another one."""
    path = model_directory / CONFIGURATION_NAME
    before = path.read_bytes() if path.is_file() else None
    if model.configuration is None:
        return False
    content = store.read(model.configuration.key, limit=CONFIGURATION_LIMIT)
    if content == before:
        return False
    model_directory.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(f".{CONFIGURATION_NAME}.{os.getpid()}")
    writing.write_bytes(content)
    writing.replace(path)
    return True


def _fetch_package(store: Store, version: StoredVersion, staging: Path) -> list[str]:
    """Fetch what the manifest names, and nothing else."""
    stored = version.files[MANIFEST_NAME]
    place_of_manifest = f"{store.address.url}/{stored.key}"
    content = store.read(stored.key, limit=MANIFEST_LIMIT)
    manifest = Manifest.parse(content, place_of_manifest)
    for name, expected in manifest.files.items():
        if name not in version.files:
            raise PackageError(f"{place_of_manifest} names '{checked_path(name, place_of_manifest)}', which is not in the store.")
        _check_size(store, version, name, expected)
        _fetch(store, version, name, staging, place_of_manifest)
    manifest.verify(staging)
    (staging / MANIFEST_NAME).write_bytes(content)
    return [*manifest.files, MANIFEST_NAME]


def _fetch_files(store: Store, version: StoredVersion, staging: Path) -> list[str]:
    for name in version.files:
        _fetch(store, version, name, staging, store.address.url)
    return list(version.files)


def _check_size(store: Store, version: StoredVersion, name: str, expected: FileDigest) -> None:
    """Raise PackageError before a file is fetched that cannot be the right one."""
    if (stored := version.files[name]).size != expected.size:
        raise PackageError(
            f"{store.address.url}/{stored.key} has {stored.size} bytes, expected {expected.size}. Publish the version again."
        )


def _fetch(store: Store, version: StoredVersion, name: str, staging: Path, named_by: str) -> None:
    target = staging / checked_path(name, named_by)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        store.fetch(version.files[name].key, target)
    except ObjectMissing as error:
        raise PackageError(f"{error} It was there a moment ago.") from error
