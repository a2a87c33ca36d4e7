import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import PackageError
from service.repository.datatypes import DATATYPES, Datatype, to_numpy
from service.repository.samples import SAMPLES_NAME, Samples


@pytest.mark.parametrize("datatype", DATATYPES)
def test_what_is_written_is_read(datatype: Datatype, tmp_path: Path) -> None:
    numbers = np.array([[0, 1], [1, 0]], dtype=np.uint16 if datatype == "BF16" else to_numpy(datatype))
    array = np.array([["a", "größer"], ["", "b"]], dtype=object) if datatype == "BYTES" else numbers.view(to_numpy(datatype))
    Samples({"in:put": array}, {"y": array[::-1]}).write(tmp_path)

    read = Samples.read(tmp_path)

    assert read is not None
    np.testing.assert_array_equal(read.inputs["in:put"], array, strict=True)
    np.testing.assert_array_equal(read.outputs["y"], array[::-1], strict=True)


def test_package_without_samples_has_none(tmp_path: Path) -> None:
    assert Samples.read(tmp_path) is None


class Trap:
    """Raises an alarm when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


def test_reading_never_unpickles(tmp_path: Path) -> None:
    np.savez(tmp_path / SAMPLES_NAME, allow_pickle=True, **{"input:x": np.array([Trap()], dtype=object)})

    with pytest.raises(PackageError, match="is not a readable samples file"):
        Samples.read(tmp_path)


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    Samples({"x": np.zeros(1000)}, {}).write(tmp_path)
    path = tmp_path / SAMPLES_NAME
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(PackageError, match="is not a readable samples file"):
        Samples.read(tmp_path)


def test_damaged_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / SAMPLES_NAME
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("input:x.npy", b"\x93NUMPY\x01\x00rubbish")

    with pytest.raises(PackageError, match="is not a readable samples file"):
        Samples.read(tmp_path)


@pytest.mark.parametrize("content", [pytest.param(b"", id="empty"), pytest.param(b"rubbish", id="rubbish")])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / SAMPLES_NAME).write_bytes(content)

    with pytest.raises(PackageError, match="is not a readable samples file"):
        Samples.read(tmp_path)


def test_single_array_is_no_samples_file(tmp_path: Path) -> None:
    with (tmp_path / SAMPLES_NAME).open("wb") as stream:
        np.save(stream, np.zeros(3))

    with pytest.raises(PackageError, match="is not a readable samples file"):
        Samples.read(tmp_path)
