import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import PackageError
from service.repository.datatypes import DATATYPES
from service.repository.manifest import MANIFEST_NAME, FileDigest, Manifest, Parity
from service.repository.signature import Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 2), features=("age", "height"), unit="m"),),
    outputs=(TensorSpec("y", "FP32", (-1, 2), labels=("no", "yes")),),
)


def manifest(directory: Path, **facts: Any) -> Manifest:
    files = {path.name: FileDigest.of(path) for path in directory.iterdir()}
    return Manifest(**{"name": "m", "version": 3, "created": "now", "signature": SIGNATURE, "files": files} | facts)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Make a directory with two files."""
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "samples.npz").write_bytes(b"samples")
    return tmp_path


def test_what_is_written_is_read(package: Path) -> None:
    written = manifest(
        package,
        parity=Parity(tolerance=1e-5, max_abs_error=1e-7, batch_sizes=(1, 7)),
        metrics={"test": {"accuracy": 0.98}},
        spec={"seed": 1, "hidden": [64, 32]},
        seed=1,
        opset=18,
    )
    written.write(package)

    assert Manifest.read(package) == written


SPECS = st.builds(
    TensorSpec,
    name=st.text(),
    datatype=st.sampled_from(DATATYPES),
    shape=st.lists(st.integers(-1, 9)).map(tuple),
    labels=st.lists(st.text()).map(tuple),
    unit=st.text(),
    value_range=st.none() | st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)),
)


@given(inputs=st.lists(SPECS, max_size=3).map(tuple), outputs=st.lists(SPECS, max_size=3).map(tuple))
def test_any_signature_survives_json(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    signature = Signature(inputs=inputs, outputs=outputs)

    assert msgspec.json.decode(msgspec.json.encode(signature), type=Signature) == signature


def test_manifest_is_indented_for_people(package: Path) -> None:
    manifest(package).write(package)

    assert '\n  "version": 3,\n' in (package / MANIFEST_NAME).read_text(encoding="utf-8")


def test_keys_of_a_newer_axon_are_ignored(package: Path) -> None:
    written = manifest(package)
    written.write(package)
    path = package / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"news": 1}), encoding="utf-8")

    assert Manifest.read(package) == written


def test_unknown_format_is_refused(package: Path) -> None:
    manifest(package, format=2).write(package)

    with pytest.raises(PackageError, match="has format 2; this version of Axon reads format 1"):
        Manifest.read(package)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b'{"name": "m"}', id="keys missing"),
    ],
)
def test_what_is_no_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)

    with pytest.raises(PackageError, match="is not a manifest"):
        Manifest.read(tmp_path)


def test_absent_manifest_is_a_package_error(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"Cannot read .*manifest\.json: No such file"):
        Manifest.read(tmp_path)


def test_whole_package_is_verified(package: Path) -> None:
    manifest(package).verify(package)


def test_changed_file_is_found(package: Path) -> None:
    published = manifest(package)
    (package / "model.onnx").write_bytes(b"grapH")

    with pytest.raises(PackageError, match=r"model\.onnx has 5 bytes and SHA-256 .*expected 5 and"):
        published.verify(package)


def test_missing_file_is_found(package: Path) -> None:
    published = manifest(package)
    (package / "samples.npz").unlink()

    with pytest.raises(PackageError, match=r"Cannot read .*samples\.npz"):
        published.verify(package)


@pytest.mark.parametrize("name", ["../x", "/etc/hostname", "a/../../x"])
def test_file_outside_the_package_is_refused(name: str, package: Path) -> None:
    outside = package.parent / "x"
    outside.write_bytes(b"secret")
    published = manifest(package, files={name: FileDigest.of(outside)})

    with pytest.raises(PackageError, match="which is outside the package"):
        published.verify(package)


def test_link_out_of_the_package_is_refused(package: Path) -> None:
    outside = package.parent / "x"
    outside.write_bytes(b"secret")
    (package / "link").symlink_to(outside)
    published = manifest(package, files={"link": FileDigest.of(outside)})

    with pytest.raises(PackageError, match="which is outside the package"):
        published.verify(package)
