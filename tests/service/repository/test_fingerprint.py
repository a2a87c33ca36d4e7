import os
import shutil
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


def test_version_of_which_a_backup_is_made_looks_the_same(tmp_path: Path) -> None:
    """A hard link changes the time of the status; to load the version anew would be of no use to anybody."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(b"graph")
    before = fingerprint(tmp_path / "1")
    (tmp_path / "backup.onnx").hardlink_to(tmp_path / "1" / "model.onnx")

    assert fingerprint(tmp_path / "1") == before
    (tmp_path / "backup.onnx").unlink()
    assert fingerprint(tmp_path / "1") == before


def test_file_that_takes_the_place_of_another_looks_changed_though_size_and_time_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    before = fingerprint(tmp_path)
    (tmp_path / "new").write_bytes(b"other")
    shutil.copystat(tmp_path / "model.onnx", tmp_path / "new")
    os.replace(tmp_path / "new", tmp_path / "model.onnx")  # noqa: PTH105 -- as mv does

    assert fingerprint(tmp_path) != before
