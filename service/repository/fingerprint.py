"""Whether a version on disk is still as it was when it was looked at last, and whether it is whole, without reading it."""

import os
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from time import monotonic, time

from service.repository.manifest import MANIFEST_NAME

Fingerprint = frozenset[tuple[str, int, int, int]]


def fingerprint(version_directory: Path) -> Fingerprint:
    """Return path, size, times of change of content and of status (nanoseconds) of each file of a version.

    The time of the content can be kept by what copies a file, and is when permissions are mended; that of the status cannot. Files
    that vanish meanwhile are left out.
    """
    found = set()
    for directory, _, names in os.walk(version_directory):  # which passes over directories that are gone
        for path in (Path(directory, name) for name in names):
            with suppress(OSError):
                status = path.stat()
                found.add((path.relative_to(version_directory).as_posix(), status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return frozenset(found)


class Settling:
    """Tells when a version is whole: it has a manifest, which is written last, or its files have been at rest for `seconds`.

    They are at rest if their times of change say so, or if they were seen unchanged for that long: a clock may be wrong.
    """

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._first_seen: dict[Hashable, tuple[Fingerprint, float]] = {}

    def is_over(self, key: Hashable, seen: Fingerprint) -> bool:
        """Say whether the version called `key`, which looks like `seen` now, is whole."""
        if any(path == MANIFEST_NAME for path, *_ in seen) or self._at_rest(key, seen):
            self._first_seen.pop(key, None)
            return True
        return False

    def _at_rest(self, key: Hashable, seen: Fingerprint) -> bool:
        age = time() - max((changed / 1e9 for _, _, changed, _ in seen), default=0.0)
        if age >= self._seconds:
            return True
        before, since = self._first_seen.get(key, (seen, monotonic()))
        self._first_seen[key] = (seen, since if before == seen else monotonic())
        return before == seen and monotonic() - since >= self._seconds
