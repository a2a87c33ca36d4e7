"""What is known of a version that was fetched: `.origin.json`, beside its files, so that it is not fetched again."""

from pathlib import Path
from typing import Final, Self

import msgspec

from service.errors import PackageError
from service.repository.manifest import MANIFEST_NAME, FileDigest, Manifest
from service.storage.catalogue import StoredVersion

ORIGIN_NAME: Final = ".origin.json"


class Origin(msgspec.Struct, frozen=True):
    """Size and entity tag in the store of each file that was fetched, and the digests of those that no manifest has."""

    objects: dict[str, tuple[int, str | None]]
    digests: dict[str, FileDigest] = {}

    @classmethod
    def of(cls, version: StoredVersion, names: list[str], directory: Path) -> Self:
        """Describe files that have just been fetched into a directory."""
        objects = {name: (version.files[name].size, version.files[name].e_tag) for name in names}
        digests = {} if version.is_package else {name: FileDigest.of(directory / name) for name in names}
        return cls(objects, digests)

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Return the origin of a version, None if it did not come from a store."""
        try:
            return msgspec.json.decode((directory / ORIGIN_NAME).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def write(self, directory: Path) -> None:
        """Keep it with the files."""
        (directory / ORIGIN_NAME).write_bytes(msgspec.json.encode(self))

    def is_of(self, version: StoredVersion) -> bool:
        """Say whether the store still has what was fetched. Beside a manifest there may be files that it does not name."""
        now = {name: (stored.size, stored.e_tag) for name, stored in version.files.items()}
        if version.is_package:
            return MANIFEST_NAME in self.objects and self.objects == {name: now.get(name) for name in self.objects}
        return self.objects == now

    def verify(self, directory: Path) -> None:
        """Compare every file with its digest. Raises PackageError."""
        if MANIFEST_NAME in self.objects:
            Manifest.read(directory).verify(directory)
        for name, expected in self.digests.items():
            try:
                actual = FileDigest.of(directory / name)
            except OSError as error:
                raise PackageError(f"Cannot read {directory / name}: {error.strerror}.") from error
            if actual != expected:
                raise PackageError(f"{directory / name} is not as it was fetched.")
