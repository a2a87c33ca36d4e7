"""Whether a version on disk is still as it was when it was looked at last, without reading it."""

from time import time

from service.repository.configuration import CONFIGURATION_NAME
from service.repository.layout import ModelDirectory
from service.repository.manifest import MANIFEST_NAME

Fingerprint = frozenset[tuple[str, int, int]]


def fingerprint(model: ModelDirectory, version: int) -> Fingerprint:
    """Return path, size and time of change of each file of a version and of the model's configuration."""
    directory = model.versions[version]
    files = [path for path in directory.rglob("*") if path.is_file()]
    if (configuration := model.path / CONFIGURATION_NAME).is_file():
        files.append(configuration)
    return frozenset((str(path), (status := path.stat()).st_size, status.st_mtime_ns) for path in files)


def is_settled(model: ModelDirectory, version: int, *, seconds: float) -> bool:
    """Whether a version is whole: it has a manifest, which is written last, or none of its files has changed for `seconds`."""
    directory = model.versions[version]
    if seconds == 0 or (directory / MANIFEST_NAME).is_file():
        return True
    changed = max((path.stat().st_mtime for path in directory.rglob("*") if path.is_file()), default=0.0)
    return time() - changed >= seconds
