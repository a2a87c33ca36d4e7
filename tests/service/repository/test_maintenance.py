import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import ConfigurationError, ModelNotFound, PackageError
from service.repository.layout import find_versions, publish, staged
from service.repository.maintenance import find_version, prune, roll_back, verify
from service.repository.manifest import Manifest
from service.repository.signature import Signature

NOTHING = Signature(inputs=(), outputs=())


def publish_version(root: Path, text: str, *, name: str = "m") -> Manifest:
    with staged(root / name) as staging:
        (staging / "model.onnx").write_text(text, encoding="ascii")
        (staging / "weights").mkdir()
        (staging / "weights" / "part").write_text(text * 2, encoding="ascii")
        return publish(staging, root / name, signature=NOTHING, task="regression", metrics={"test": {"rmse": float(len(text))}})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for text in ("one", "two!", "three"):
        publish_version(tmp_path, text)
    return tmp_path


def test_model_alone_is_its_newest_version(root: Path) -> None:
    version = find_version(root, "m")

    assert (version.reference, version.number, version.size > 15) == ("m/3", 3, True)


def test_version_is_found_by_its_number(root: Path) -> None:
    assert find_version(root, "m/1").directory == root / "m" / "1"


@pytest.mark.parametrize("number", ["4", "0", "01", "x", "../../m/1", "1/"])
def test_number_that_is_no_version_is_refused_with_those_that_are(number: str, root: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no version '.*'\. Expected one of 1, 2, 3\."):
        find_version(root, f"m/{number}")


def test_slash_without_a_version_is_refused(root: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'m/' names no version\. Expected MODEL/VERSION, 'm/1' for example"):
        find_version(root, "m/")


def test_version_is_refused_where_a_model_is_meant(root: Path) -> None:
    with pytest.raises(ConfigurationError, match="'m/2' names a version; expected a model alone, 'm'"):
        roll_back(root, "m/2")
    with pytest.raises(ConfigurationError, match="'m/2' names a version; expected a model alone, 'm'"):
        prune(root, "m/2", keep=1)


def test_unknown_model_is_refused(root: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"Known models: m\."):
        find_version(root, "n")


def test_model_without_versions_is_refused(root: Path) -> None:
    (root / "empty").mkdir()

    with pytest.raises(ConfigurationError, match="has no version yet"):
        find_version(root, "empty")


def test_whole_version_is_verified(root: Path) -> None:
    assert verify(root / "m" / "2") == 2


def test_changed_file_is_found(root: Path) -> None:
    (root / "m" / "2" / "weights" / "part").write_text("other", encoding="ascii")

    with pytest.raises(PackageError, match="part has 5 bytes"):
        verify(root / "m" / "2")


def test_bare_graph_has_nothing_to_verify(root: Path) -> None:
    (root / "bare").mkdir()
    (root / "bare" / "model.onnx").write_bytes(b"graph")

    assert verify(root / "bare") is None


def test_rolling_back_publishes_a_copy_of_the_version_before(root: Path) -> None:
    manifest = roll_back(root, "m")

    assert (manifest.version, manifest.rolled_back) == (4, {"from": 3, "to": 2})
    directory = root / "m" / "4"
    assert Manifest.read(directory) == manifest
    assert verify(directory) == 2
    assert (directory / "weights" / "part").read_text() == "two!two!"
    assert (manifest.task, manifest.metrics) == ("regression", {"test": {"rmse": 4.0}})


def test_rolling_back_leaves_every_version_as_it_was(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    roll_back(root, "m", to=1)

    assert {path: path.read_bytes() for path in before} == before
    assert list(find_versions(root / "m")) == [1, 2, 3, 4]


def test_file_beside_the_package_is_not_copied(root: Path) -> None:
    (root / "m" / "1" / "notes.txt").write_text("mine", encoding="ascii")

    roll_back(root, "m", to=1)

    assert not (root / "m" / "4" / "notes.txt").exists()


def test_damaged_version_is_not_published_again(root: Path) -> None:
    (root / "m" / "1" / "model.onnx").write_bytes(b"")

    with pytest.raises(PackageError):
        roll_back(root, "m", to=1)

    assert [path.name for path in sorted((root / "m").iterdir())] == ["1", "2", "3"]


def test_version_without_a_manifest_cannot_be_rolled_back_to(root: Path) -> None:
    (root / "m" / "1" / "manifest.json").unlink()

    with pytest.raises(PackageError, match=r"has no manifest\.json"):
        roll_back(root, "m", to=1)


def test_repository_that_refuses_the_copy_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_where: object) -> str:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", refused)

    with pytest.raises(PackageError, match=r"Cannot publish to .*/m: Read-only file system\. Nothing was published\."):
        roll_back(root, "m")


def test_only_version_has_nothing_before_it(tmp_path: Path) -> None:
    publish_version(tmp_path, "one")

    with pytest.raises(ConfigurationError, match="expected an older one"):
        roll_back(tmp_path, "m")


def test_pruning_keeps_the_newest(root: Path) -> None:
    assert prune(root, "m", keep=1) == [1, 2]

    assert [path.name for path in (root / "m").iterdir()] == ["3"]


def test_pruning_keeps_all_if_there_are_no_more(root: Path) -> None:
    assert prune(root, "m", keep=7) == []
    assert list(find_versions(root / "m")) == [1, 2, 3]


def test_newest_version_is_never_pruned(root: Path) -> None:
    with pytest.raises(ConfigurationError, match="keep = 0; expected at least 1"):
        prune(root, "m", keep=0)


def test_number_of_a_pruned_version_is_not_given_again(root: Path) -> None:
    prune(root, "m", keep=1)

    assert publish_version(root, "four").version == 4


def test_what_a_killed_prune_or_publisher_left_is_removed(root: Path) -> None:
    (root / "m" / "2").rename(root / "m" / ".removed-2-abc")
    (root / "m" / ".staging-abc").mkdir()

    assert prune(root, "m", keep=2) == []

    assert [path.name for path in sorted((root / "m").iterdir())] == ["1", "3"]


def test_version_that_is_being_removed_is_already_out_of_sight(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting is stopped before its first file: the directory has left its place by then, whole."""

    def stopped(_path: Path, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", stopped)
    with pytest.raises(KeyboardInterrupt):
        prune(root, "m", keep=2)

    assert list(find_versions(root / "m")) == [2, 3]


def test_reader_sees_whole_versions_while_others_are_pruned(tmp_path: Path) -> None:
    for _ in range(40):
        publish_version(tmp_path, "some text")
    done = threading.Event()

    def read() -> int:
        seen = 0
        while not done.is_set():
            for directory in find_versions(tmp_path / "m").values():
                try:
                    manifest = Manifest.read(directory)
                except PackageError:
                    assert not directory.exists()  # gone as a whole, since it was listed
                else:
                    seen += len(manifest.files)
        return seen

    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read)
        prune(tmp_path, "m", keep=1)
        done.set()

    assert reader.result() > 0


def test_two_prunes_at_once_remove_each_version_once(root: Path) -> None:
    for _ in range(20):
        publish_version(root, "text")
    with ThreadPoolExecutor(4) as pool:
        removed = [number for found in pool.map(lambda _: prune(root, "m", keep=1), range(4)) for number in found]

    assert set(removed) == set(range(1, 23))
    assert [path.name for path in (root / "m").iterdir()] == ["23"]
