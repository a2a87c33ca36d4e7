"""`manifest.json`: the last file written into a package, and the proof of all the others."""

import hashlib
from pathlib import Path
from typing import Any, Self

import msgspec

from service.errors import PackageError
from service.repository.signature import Signature

MANIFEST_NAME = "manifest.json"
FORMAT = 1
_CHUNK = 1 << 20


class FileDigest(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256 of one file of the package."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the file and digest it."""
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        return cls(size=path.stat().st_size, sha256=digest.hexdigest())


class Parity(msgspec.Struct, frozen=True):
    """How closely the ONNX graph reproduces the Keras model.

    `max_abs_error` is the largest |onnx - keras| / max(1, |keras|) over all outputs and all batches of `batch_sizes` rows;
    publishing demands that it is at most `tolerance`, and the service that the samples replay within it. `rows` counts the
    different rows, edge rows among them; `batch_invariance` is the largest difference that it makes to a row whether it is run
    alone or in a batch of 64.
    """

    tolerance: float
    max_abs_error: float
    batch_sizes: tuple[int, ...]
    rows: int | None = None
    batch_invariance: float | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a package holds and where it came from.

    `files` has every other file by its path inside the package. Unknown keys are ignored, so that packages of a newer Axon
    can be read as long as `format` is known. `intervals` are 95% intervals of the test metrics; `acceptance` says what was
    demanded of them, and whether the model was published against it; `rolled_back`
    {"from": 5, "to": 3} that this version is a copy of 3.
    """

    name: str
    version: int
    created: str
    signature: Signature
    files: dict[str, FileDigest]
    format: int = FORMAT
    description: str = ""
    task: str = ""
    opset: int | None = None
    seed: int | None = None
    parity: Parity | None = None
    metrics: dict[str, dict[str, float]] = {}
    intervals: dict[str, tuple[float, float]] = {}
    acceptance: dict[str, Any] = {}
    rolled_back: dict[str, int] = {}
    dataset: dict[str, Any] = {}
    spec: dict[str, Any] = {}
    tools: dict[str, str] = {}

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read `manifest.json` of a package. Raises PackageError if it is absent or not a manifest."""
        path = directory / MANIFEST_NAME
        try:
            content = path.read_bytes()
        except OSError as error:
            raise PackageError(f"Cannot read {path}: {error.strerror}.") from error
        return cls.parse(content, path)

    @classmethod
    def parse(cls, content: bytes, path: Path | str) -> Self:
        """Read the content of a `manifest.json` that stands at `path`. Raises PackageError if it is not a manifest."""
        try:
            manifest = msgspec.json.decode(content, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PackageError(f"{path} is not a manifest: {error}. Publish the model again.") from error
        if manifest.format != FORMAT:
            raise PackageError(f"{path} has format {manifest.format}; this version of Axon reads format {FORMAT}.")
        return manifest

    def write(self, directory: Path) -> None:
        """Write `manifest.json`, indented for people."""
        data = msgspec.json.format(msgspec.json.encode(self), indent=2)
        (directory / MANIFEST_NAME).write_bytes(data + b"\n")

    def verify(self, directory: Path) -> None:
        """Compare every file with its digest. Raises PackageError on the first that is missing, changed or outside."""
        root = directory.resolve()
        for name, expected in self.files.items():
            path = (directory / name).resolve()
            if not path.is_relative_to(root):
                raise PackageError(f"The manifest of {directory} names '{name}', which is outside the package.")
            try:
                actual = FileDigest.of(path)
            except OSError as error:
                raise PackageError(f"Cannot read {directory / name}: {error.strerror}. Copy the package again.") from error
            if actual != expected:
                raise PackageError(
                    f"{directory / name} has {actual.size} bytes and SHA-256 {actual.sha256[:12]}..., "
                    f"expected {expected.size} and {expected.sha256[:12]}.... Copy or publish the package again."
                )
