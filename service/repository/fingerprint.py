"""Whether a version on disk is still as it was when it was looked at last, and whether it is whole, without reading it."""

import os
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time

from service.repository.manifest import MANIFEST_NAME


@dataclass(frozen=True, eq=False)
class Mark:
    """What tells of a file that it is another one: its size, the time of its content (nanoseconds), and who may read it.

    What copies a file can keep all of these. The copy is another inode with a later time of status; a file of which a backup made
    a hard link has that time alone, and some file systems give a file another inode whenever they are asked.
    """

    size: int
    changed: int
    rights: tuple[int, int, int]
    status_changed: int
    inode: int

    def __eq__(self, other: object) -> bool:
        """Whether it seems to be the same file with the same content."""
        if not isinstance(other, Mark):
            return NotImplemented
        if (self.size, self.changed, self.rights) != (other.size, other.changed, other.rights):
            return False
        return self.status_changed == other.status_changed or self.inode == other.inode

    __hash__ = None  # type: ignore[assignment]  # what seems the same is not the same


Fingerprint = dict[str, Mark]


def fingerprint(version_directory: Path) -> Fingerprint:
    """Return what tells the files of a version, by their paths; files that vanish meanwhile are left out."""
    found = {}
    for directory, _, names in os.walk(version_directory):  # which passes over directories that are gone
        for path in (Path(directory, name) for name in names):
            with suppress(OSError):
                status = path.stat()
                rights = (status.st_mode, status.st_uid, status.st_gid)
                mark = Mark(status.st_size, status.st_mtime_ns, rights, status.st_ctime_ns, status.st_ino)
                found[path.relative_to(version_directory).as_posix()] = mark
    return found


class Settling:
    """Tells when a version is whole: it has a manifest, which is written last, or its files have been at rest for `seconds`.

    They are at rest if their times of change say so, or if they were seen unchanged for that long: a clock may be wrong.
    """

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._first_seen: dict[Hashable, tuple[Fingerprint, float]] = {}

    def is_over(self, key: Hashable, seen: Fingerprint) -> bool:
        """Say whether the version called `key`, which looks like `seen` now, is whole."""
        if MANIFEST_NAME in seen or self._at_rest(key, seen):
            self._first_seen.pop(key, None)
            return True
        return False

    def _at_rest(self, key: Hashable, seen: Fingerprint) -> bool:
        age = time() - max((mark.changed / 1e9 for mark in seen.values()), default=0.0)
        if age >= self._seconds:
            return True
        before, since = self._first_seen.get(key, (seen, monotonic()))
        self._first_seen[key] = (seen, since if before == seen else monotonic())
        return before == seen and monotonic() - since >= self._seconds
