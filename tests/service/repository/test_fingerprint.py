from pathlib import Path

from service.repository.fingerprint import fingerprint


def test_version_whose_permissions_are_mended_looks_changed(tmp_path: Path) -> None:
    """Else nobody would try again what could not be read."""
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "model.onnx").chmod(0o000)
    before = fingerprint(tmp_path)
    (tmp_path / "model.onnx").chmod(0o644)

    assert fingerprint(tmp_path) != before


def test_version_that_nobody_touches_looks_the_same(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    before = fingerprint(tmp_path)
    (tmp_path / "model.onnx").read_bytes()

    assert fingerprint(tmp_path) == before
