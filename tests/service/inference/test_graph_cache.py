import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.inference.loading import Loader
from service.inference.served_model import LoadedModel
from service.repository.configuration import ModelConfiguration
from service.repository.layout import find_models
from service.repository.runtime_configuration import SessionTuning

ROW = np.array([[1, 2, 3, 4]], dtype=np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Name a cache directory that is not there yet."""
    return tmp_path / "cache"


@pytest.fixture
def repository(tmp_path: Path, graphs: Any, save: Callable[..., Path]) -> Path:
    """Build a repository of one model, m."""
    save(graphs.affine(), tmp_path / "models" / "m" / "1")
    return tmp_path / "models"


def loaded(repository: Path, cache: Path, **options: Any) -> LoadedModel:
    model = find_models(repository)[0]
    return Loader(provider="auto", cache_directory=cache).load(model, 1, ModelConfiguration(**options))


def answers(model: LoadedModel, graphs: Any) -> bool:
    return np.allclose(model.session.run([ROW])[0], ROW @ graphs.weights)


def kept(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


def test_nothing_is_written_without_a_cache_directory(repository: Path, tmp_path: Path) -> None:
    Loader(provider="auto").load(find_models(repository)[0], 1, ModelConfiguration())

    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_graph_is_kept_and_used_by_the_next_load(repository: Path, cache: Path, graphs: Any, caplog: Any) -> None:
    loaded(repository, cache)
    written = kept(cache)
    before = written[0].stat().st_mtime_ns

    again = loaded(repository, cache)

    assert [path.name.split("@")[:2] for path in written] == [["m", "1"]]
    assert kept(cache) == written
    assert written[0].stat().st_mtime_ns == before
    assert answers(again, graphs)
    assert caplog.messages == []


def test_kept_graph_is_really_read(repository: Path, cache: Path, graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    """Another graph in its place is what runs: the trust is in who may write."""
    loaded(repository, cache)
    other = save(graphs.softmax(axis=1), tmp_path / "other")
    kept(cache)[0].write_bytes(other.read_bytes())

    np.testing.assert_allclose(loaded(repository, cache).session.run([ROW])[0].sum(), 1, rtol=1e-5)


def test_directory_and_files_are_for_this_user_alone(repository: Path, cache: Path) -> None:
    loaded(repository, cache)

    assert cache.stat().st_mode & 0o777 == 0o700
    assert kept(cache)[0].stat().st_mode & 0o777 == 0o600


def test_changed_graph_replaces_the_kept_one(
    repository: Path, cache: Path, graphs: Any, save: Callable[..., Path], tmp_path: Path
) -> None:
    loaded(repository, cache)
    before = kept(cache)
    save(graphs.softmax(axis=1), tmp_path / "models" / "m" / "1")

    model = loaded(repository, cache)

    np.testing.assert_allclose(model.session.run([ROW])[0].sum(), 1, rtol=1e-5)
    assert len(kept(cache)) == 1
    assert kept(cache) != before


def test_other_options_have_a_graph_of_their_own(repository: Path, cache: Path) -> None:
    loaded(repository, cache)
    before = kept(cache)

    loaded(repository, cache, session=SessionTuning(memory_arena=False))

    assert kept(cache) != before


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_directory_that_others_can_write_is_not_used(
    mode: int, repository: Path, cache: Path, graphs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir()
    cache.chmod(mode)

    assert answers(loaded(repository, cache), graphs)
    assert kept(cache) == []
    assert "must belong to the user of the server and be writable for nobody else" in caplog.text


def test_file_that_others_can_write_is_not_used(
    repository: Path, cache: Path, graphs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(repository, cache)
    tampered = kept(cache)[0]
    tampered.write_bytes(graphs.softmax(axis=1).SerializeToString())
    tampered.chmod(0o666)

    assert answers(loaded(repository, cache), graphs)
    assert "is not used: [Errno 1] it must belong to the user of the server" in caplog.text
    assert kept(cache)[0].stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_not_used(repository: Path, cache: Path, graphs: Any, caplog: pytest.LogCaptureFixture) -> None:
    loaded(repository, cache)
    tampered = kept(cache)[0]
    tampered.write_bytes(graphs.softmax(axis=1).SerializeToString())
    os.chown(tampered, 12345, 12345)

    assert answers(loaded(repository, cache), graphs)
    assert "is not used" in caplog.text


def test_link_is_not_followed(
    repository: Path, cache: Path, graphs: Any, save: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(repository, cache)
    path = kept(cache)[0]
    path.unlink()
    path.symlink_to(save(graphs.softmax(axis=1), tmp_path / "other"))

    assert answers(loaded(repository, cache), graphs)
    assert "is a symbolic link" in caplog.text
    assert not path.is_symlink()


@pytest.mark.parametrize("content", [pytest.param(b"", id="empty"), pytest.param(b"cut", id="damaged")])
def test_damaged_graph_is_made_again(
    content: bytes, repository: Path, cache: Path, graphs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(repository, cache)
    kept(cache)[0].write_bytes(content)

    assert answers(loaded(repository, cache), graphs)
    assert "is not used: onnxruntime cannot load" in caplog.text
    assert len(kept(cache)[0].read_bytes()) > len(content)


def test_directory_that_cannot_be_made_stops_nothing(
    repository: Path, tmp_path: Path, graphs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert answers(loaded(repository, tmp_path / "file" / "cache"), graphs)
    assert "nothing is kept in the cache directory" in caplog.text
    assert "Not a directory" in caplog.text


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
import numpy as np
from service.inference.loading import Loader
from service.repository.configuration import ModelConfiguration
from service.repository.layout import find_models
logging.basicConfig()
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
model = find_models(Path(sys.argv[1]))[0]
loaded = Loader(provider="auto", cache_directory=Path(sys.argv[2])).load(model, 1, ModelConfiguration())
print(loaded.session.run([np.ones((1, 4), np.float32)])[0].shape)
"""


def test_full_disk_stops_nothing(repository: Path, cache: Path) -> None:
    """A process that may write 64 bytes to a file, which is what a full disk looks like to it."""
    root = str(Path(__file__).parents[3])
    process = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(repository), str(cache)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.stdout.strip() == "(1, 3)", process.stderr
    assert "cannot keep the optimised graph" in process.stderr
    assert kept(cache) == []


def test_broken_graph_is_reported_as_without_a_cache(tmp_path: Path, cache: Path) -> None:
    directory = tmp_path / "models" / "m" / "1"
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(b"\x08\x0a")

    with pytest.raises(Exception, match=r"onnxruntime cannot load .*models/m/1/model\.onnx"):
        loaded(tmp_path / "models", cache)

    assert kept(cache) == []
