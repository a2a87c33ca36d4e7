"""`axon push`: a version of a local repository into a store, whole or not at all.

A package is whole when its manifest is there, a bare graph when its model.onnx is: each is written last, and created, not replaced.
Before it there is a claim, created as well, so that the files of two publishers are not mixed. The claim says what is on its way:
who publishes the same may go on with it after a publisher was cut off.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from service.errors import AlreadyStored, ConfigurationError, ObjectMissing
from service.repository.layout import GRAPH_NAME, find_models, is_version
from service.repository.maintenance import Version
from service.repository.manifest import MANIFEST_NAME, FileDigest, Manifest
from service.storage.address import Address
from service.storage.catalogue import CLAIM_NAME, CONFIGURATION_LIMIT, CONFIGURATION_NAME
from service.storage.store import Store


def find_local(path: Path) -> Version:
    """Return the version in its directory, or the newest in that of its model. Raises ConfigurationError, PackageError."""
    path = path.resolve()
    is_numbered = is_version(path.name) and not any(is_version(below.name) for below in path.glob("*/"))
    models = find_models(path.parent if is_numbered else path)
    if len(models) != 1:
        raise ConfigurationError(
            f"{path} is no model. Expected REPOSITORY/NAME or REPOSITORY/NAME/VERSION, models/digits for example."
        )
    model = models[0]
    number = int(path.name) if is_numbered else max(model.versions, default=0)
    if number not in model.versions:
        raise ConfigurationError(f"There is no version in {path}. Expected a directory such as digits/1 with a {GRAPH_NAME} in it.")
    directory = model.versions[number]
    manifest = Manifest.read(directory) if (directory / MANIFEST_NAME).is_file() else None
    return Version(model.name, number, directory, manifest)


def push(version: Version, address: Address) -> Iterator[str]:
    """Check a version, store it below the URL as NAME/VERSION, and yield lines about it.

    What is there already as it is here is left alone. Raises PackageError if the version is damaged, AlreadyStored if another one
    has its number or is on its way, StoreError.
    """
    if version.manifest is not None:
        version.manifest.verify(version.directory)
    store = Store(address, writing=True)
    yield f"{version.reference}  {_push(store, version)}"
    if _push_configuration(store, version):
        yield f"{version.model}/{CONFIGURATION_NAME}  published"


def _push(store: Store, version: Version) -> str:
    """Store what is not there; say what was done."""
    prefix = f"{version.model}/{version.number}/"
    files = _files(version)
    if _is_there(store, version, prefix, files):
        return "is there already"
    is_new = _claim(store, version, prefix, files)
    try:
        done = _store(store, version, prefix, files, continued=not is_new)
    except AlreadyStored:
        _release(store, prefix)
        raise
    _release(store, prefix)  # but not after another error: who goes on with this finds its claim
    return done


def _store(store: Store, version: Version, prefix: str, files: list[str], *, continued: bool) -> str:
    """Store what has been claimed. Raises AlreadyStored if another version was sealed before the claim."""
    if not _is_there(store, version, prefix, files, half=continued):
        for file in files[:-1]:
            store.put(prefix + file, version.directory / file)
        try:
            store.create(prefix + files[-1], version.directory / files[-1])
        except AlreadyStored:
            if not _is_there(store, version, prefix, files):
                raise
        else:
            return f"published, {len(files)} file{'s' if len(files) != 1 else ''}"
    return "is there already"


_TRIES: Final = 10
_CLAIM_LIMIT: Final = 1024  # bytes
_ADVICE: Final = "Versions never change: publish yours under a new number."


def _files(version: Version) -> list[str]:
    """List what is to be stored; the last one makes it whole, and the graph comes as late as it can."""
    if version.manifest is not None:
        names = sorted(version.manifest.files, key=lambda name: (name == GRAPH_NAME, name))
        return [*names, MANIFEST_NAME]
    found = (path.relative_to(version.directory).as_posix() for path in version.directory.rglob("*") if path.is_file())
    names = sorted(name for name in found if not any(part.startswith(".") for part in name.split("/")))
    return [*(name for name in names if name not in {GRAPH_NAME, CONFIGURATION_NAME}), GRAPH_NAME]


def _claim(store: Store, version: Version, prefix: str, files: list[str]) -> bool:
    """Say that this version is on its way; return whether nobody has said so before. Raises AlreadyStored if another one is."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file} {FileDigest.of(version.directory / file).sha256}\n".encode())
    mine = digest.hexdigest().encode()
    for _ in range(_TRIES):
        try:
            store.create(prefix + CLAIM_NAME, mine)
        except AlreadyStored:
            with suppress(ObjectMissing):  # released meanwhile
                if store.read(prefix + CLAIM_NAME, limit=_CLAIM_LIMIT) == mine:
                    return False
                break
        else:
            return True
    raise AlreadyStored(
        f"Another {version.reference} is being published to {store.address.url}, or was left half. {_ADVICE} "
        f"If nobody is at it any more, remove all that is below {prefix} in the store."
    )


def _release(store: Store, prefix: str) -> None:
    with suppress(ObjectMissing):
        store.delete(prefix + CLAIM_NAME)


def _is_there(store: Store, version: Version, prefix: str, files: list[str], *, half: bool | None = None) -> bool:
    """Say whether the store has this version, whole. Raises AlreadyStored if it has another one of its number.

    A graph without a manifest may be half a package: it is if `half` says so, by default if there is a claim.
    """
    there = {key.removeprefix(prefix): stored.size for key, stored in store.list(prefix.rstrip("/")).items()}
    half = CLAIM_NAME in there if half is None else half
    if MANIFEST_NAME not in there and (GRAPH_NAME not in there or (half and version.manifest is not None)):
        return False
    compared = files if version.manifest is None else [MANIFEST_NAME]
    same = (version.manifest is not None) == (MANIFEST_NAME in there)
    for path, file in ((version.directory / file, file) for file in compared):
        size = path.stat().st_size
        same = same and there.get(file) == size and store.read(prefix + file, limit=size) == path.read_bytes()
    if not same:
        raise AlreadyStored(f"There is another {version.reference} in {store.address.url}. {_ADVICE}")
    return True


def _push_configuration(store: Store, version: Version) -> bool:
    """Store model.toml if there is one and the store has another; return whether it was stored."""
    directory = version.directory if (version.directory / CONFIGURATION_NAME).is_file() else version.directory.parent
    path = directory / CONFIGURATION_NAME
    if not path.is_file():
        return False
    key = f"{version.model}/{CONFIGURATION_NAME}"
    content = path.read_bytes()
    with suppress(ObjectMissing):
        if store.read(key, limit=CONFIGURATION_LIMIT) == content:
            return False
    store.put(key, content)
    return True
