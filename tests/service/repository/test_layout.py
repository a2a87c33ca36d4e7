import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from service.errors import ConfigurationError, InvalidName, PackageError
from service.repository.layout import checked_name, find_models, find_versions, publish, staged
from service.repository.manifest import MANIFEST_NAME, Manifest
from service.repository.signature import Signature

NOTHING = Signature(inputs=(), outputs=())


def graph(*directories: Path) -> None:
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "model.onnx").write_bytes(b"graph")


def publish_one(model_directory: Path, text: str = "graph") -> int:
    with staged(model_directory) as staging:
        (staging / "model.onnx").write_text(text, encoding="ascii")
        return publish(staging, model_directory, signature=NOTHING).version


def test_models_are_listed_by_name_with_their_versions(tmp_path: Path) -> None:
    graph(tmp_path / "b" / "1", tmp_path / "b" / "10", tmp_path / "b" / "2", tmp_path / "a" / "1")

    models = find_models(tmp_path)

    assert [model.name for model in models] == ["a", "b"]
    assert list(models[1].versions) == [1, 2, 10]


def test_model_without_a_version_is_listed(tmp_path: Path) -> None:
    """So that it can be reported instead of being overlooked."""
    (tmp_path / "empty").mkdir()

    assert [(model.name, model.versions) for model in find_models(tmp_path)] == [("empty", {})]


@pytest.mark.parametrize(
    "name", ["0", "01", "-1", "1.0", "v1", ".staging-abc", "1 ", "99999999999999999999", "\N{ARABIC-INDIC DIGIT ONE}"]
)
def test_directory_that_is_no_version_is_ignored(name: str, tmp_path: Path) -> None:
    graph(tmp_path / name, tmp_path / "3")

    assert list(find_versions(tmp_path)) == [3]


def test_version_without_graph_and_manifest_is_ignored(tmp_path: Path) -> None:
    graph(tmp_path / "1")
    (tmp_path / "2").mkdir()

    assert list(find_versions(tmp_path)) == [1]


def test_directories_that_may_not_be_looked_into_hide_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph(tmp_path / "a" / "1", tmp_path / "a" / "2", tmp_path / "b" / "1")
    (tmp_path / "c").symlink_to(tmp_path / "locked" / "c")
    locked = (tmp_path / "a" / "2", tmp_path / "c")
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path == locked[1] or path.parent in locked:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)

    assert {model.name: list(model.versions) for model in find_models(tmp_path)} == {"a": [1, 2], "b": [1], "c": []}


def test_files_and_hidden_directories_are_no_models(tmp_path: Path) -> None:
    graph(tmp_path / "m" / "1", tmp_path / ".git" / "1", tmp_path / "-x" / "1")
    (tmp_path / "README.md").write_text("", encoding="ascii")

    assert [model.name for model in find_models(tmp_path)] == ["m"]


def test_bare_graph_is_a_repository_of_one_model(tmp_path: Path) -> None:
    graph(tmp_path)

    (model,) = find_models(tmp_path, model_name="given")

    assert (model.name, model.path, model.versions) == ("given", tmp_path, {1: tmp_path})


def test_version_directories_are_a_repository_of_one_model(tmp_path: Path) -> None:
    graph(tmp_path / "iris" / "4")

    (model,) = find_models(tmp_path / "iris")

    assert (model.name, list(model.versions)) == ("iris", [4])


def test_bare_graph_in_a_model_directory_is_version_1(tmp_path: Path) -> None:
    graph(tmp_path / "m")

    (model,) = find_models(tmp_path)

    assert model.versions == {1: tmp_path / "m"}


def test_single_package_keeps_its_number(tmp_path: Path) -> None:
    for _ in range(2):
        publish_one(tmp_path / "m")

    (model,) = find_models(tmp_path / "m" / "2", model_name="m")

    assert list(model.versions) == [2]


@pytest.mark.parametrize("name", ["..", "../x", ".", "", "a/b", "a\0", "a\n", "-a", ".a", "ü", "a" * 129])
def test_name_that_could_leave_the_repository_is_refused(name: str, tmp_path: Path) -> None:
    graph(tmp_path)

    with pytest.raises(InvalidName):
        checked_name(name)
    with pytest.raises(InvalidName):
        find_models(tmp_path, model_name=name)


@pytest.mark.parametrize("name", ["a", "9", "digits", "a.b_c-d", "A" * 128])
def test_plain_name_is_accepted(name: str) -> None:
    assert checked_name(name) == name


def test_repository_that_is_no_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a directory"):
        find_models(tmp_path / "nowhere")


def test_publishing_counts_up(tmp_path: Path) -> None:
    assert [publish_one(tmp_path / "m") for _ in range(3)] == [1, 2, 3]


def test_publishing_counts_on_from_the_highest(tmp_path: Path) -> None:
    graph(tmp_path / "m" / "41", tmp_path / "m" / "7")

    assert publish_one(tmp_path / "m") == 42


def test_published_version_is_whole(tmp_path: Path) -> None:
    publish_one(tmp_path / "m")

    manifest = Manifest.read(tmp_path / "m" / "1")
    manifest.verify(tmp_path / "m" / "1")

    assert (manifest.name, manifest.version) == ("m", 1)
    assert list(manifest.files) == ["model.onnx"]


def test_files_in_subdirectories_are_in_the_manifest(tmp_path: Path) -> None:
    with staged(tmp_path / "m") as staging:
        graph(staging)
        (staging / "data").mkdir()
        (staging / "data" / "weights.bin").write_bytes(b"w")
        manifest = publish(staging, tmp_path / "m", signature=NOTHING)

    assert sorted(manifest.files) == ["data/weights.bin", "model.onnx"]


def test_nothing_is_left_of_staging(tmp_path: Path) -> None:
    publish_one(tmp_path / "m")

    assert [path.name for path in (tmp_path / "m").iterdir()] == ["1"]


def test_nothing_is_left_of_a_failed_publication(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"no model\.onnx"), staged(tmp_path / "m") as staging:
        publish(staging, tmp_path / "m", signature=NOTHING)

    assert list((tmp_path / "m").iterdir()) == []


def test_leftover_of_a_killed_publisher_is_ignored_and_cleared_by_the_next(tmp_path: Path) -> None:
    graph(tmp_path / "m" / ".staging-dead", tmp_path / "m" / "1")

    assert list(find_versions(tmp_path / "m")) == [1]
    assert publish_one(tmp_path / "m") == 2
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["1", "2"]


def test_directory_with_an_impossible_name_is_not_published_into(tmp_path: Path) -> None:
    with pytest.raises(InvalidName):
        publish_one(tmp_path / "no name")


def test_publishers_at_the_same_time_get_different_versions(tmp_path: Path) -> None:
    texts = [f"graph {index}" for index in range(16)]

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(partial(publish_one, tmp_path / "m"), texts))

    assert sorted(versions) == list(range(1, 17))
    for version, text in zip(versions, texts, strict=True):
        assert (tmp_path / "m" / str(version) / "model.onnx").read_text(encoding="ascii") == text
        assert Manifest.read(tmp_path / "m" / str(version)).version == version


PUBLISHER = """
import sys
from pathlib import Path
from service.repository.layout import publish, staged
from service.repository.signature import Signature

sys.stdin.read()  # until all publishers are there
for _ in range(10):
    with staged(Path(sys.argv[1])) as staging:
        (staging / "model.onnx").write_bytes(b"graph")
        print(publish(staging, Path(sys.argv[1]), signature=Signature(inputs=(), outputs=())).version)
"""


def test_publishers_in_different_processes_get_different_versions(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PUBLISHER, str(tmp_path / "m")]
    publishers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for publisher in publishers:
        assert publisher.stdin is not None
        publisher.stdin.close()
        publisher.stdin = None
    outputs = [publisher.communicate(timeout=60)[0] for publisher in publishers]

    assert [publisher.returncode for publisher in publishers] == [0, 0, 0]
    assert sorted(int(version) for output in outputs for version in output.split()) == list(range(1, 31))


def test_reader_never_sees_half_a_version(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    done = threading.Event()

    def publish_some() -> None:
        try:
            for _ in range(20):
                publish_one(tmp_path / "m")
        finally:
            done.set()

    publisher = threading.Thread(target=publish_some)
    publisher.start()
    seen: set[int] = set()
    finished = False
    while not finished:
        finished = done.is_set()
        for version, directory in find_versions(tmp_path / "m").items():
            if version not in seen:
                assert (directory / MANIFEST_NAME).is_file()
                Manifest.read(directory).verify(directory)
                seen.add(version)
    publisher.join()

    assert seen == set(range(1, 21))
