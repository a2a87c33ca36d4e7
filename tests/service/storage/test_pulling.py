"""From a store into a local repository; the store is a directory behind the same library."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import PackageError, StoreError
from service.repository.layout import find_models
from service.repository.manifest import MANIFEST_NAME, Manifest
from service.storage.address import Address
from service.storage.pulling import pull
from service.storage.pushing import find_local, push

Publish = Callable[..., Manifest]


def lines(address: Address, directory: Path, *, model: str | None = None, version: str = "latest") -> list[str]:
    return list(pull(address, directory, model=model, version=version))


def versions(directory: Path) -> dict[str, list[int]]:
    return {model.name: list(model.versions) for model in find_models(directory)}


def leftovers(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob(".*") if path.name != ".origin.json"]


def test_newest_version_of_each_model_is_copied_and_checked(
    address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish
) -> None:
    for name, count in (("first", 2), ("second", 1)):
        for scale in range(count):
            publish_affine(shelf / name, scale=scale)
    (shelf / "first" / "model.toml").write_text("required = true\n")

    done = lines(address, tmp_path / "local")

    assert done == [
        "first/2  fetched, 2 files, checked",
        "first/model.toml  fetched",
        "second/1  fetched, 2 files, checked",
    ]
    assert versions(tmp_path / "local") == {"first": [2], "second": [1]}
    assert (tmp_path / "local" / "first" / "2" / "model.onnx").read_bytes() == (shelf / "first" / "2" / "model.onnx").read_bytes()
    assert (tmp_path / "local" / "first" / "model.toml").read_text() == "required = true\n"
    assert leftovers(tmp_path / "local") == []


@pytest.mark.parametrize(("version", "expected"), [("latest", [3]), ("all", [1, 2, 3]), ("2", [2])])
def test_version_is_chosen(
    version: str, expected: list[int], address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish
) -> None:
    for scale in range(3):
        publish_affine(shelf / "m", scale=scale)

    lines(address, tmp_path / "local", model="m", version=version)

    assert versions(tmp_path / "local") == {"m": expected}


def test_version_that_is_there_is_not_fetched_again(address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish) -> None:
    publish_affine(shelf / "m")
    lines(address, tmp_path / "local")
    before = (tmp_path / "local" / "m" / "1").stat().st_ino

    assert lines(address, tmp_path / "local") == ["m/1  is there already"]
    assert (tmp_path / "local" / "m" / "1").stat().st_ino == before


def test_version_that_is_damaged_here_is_fetched_again(
    address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(shelf / "m")
    lines(address, tmp_path / "local")
    graph = tmp_path / "local" / "m" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])

    (line,) = lines(address, tmp_path / "local")

    assert "in place of one that was damaged" in line
    assert graph.read_bytes() == (shelf / "m" / "1" / "model.onnx").read_bytes()


def test_another_version_of_the_number_here_is_not_overwritten(
    address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(shelf / "m", scale=1)
    publish_affine(tmp_path / "local" / "m", scale=2)
    before = (tmp_path / "local" / "m" / "1" / "model.onnx").read_bytes()

    with pytest.raises(PackageError, match="is another version 1"):
        lines(address, tmp_path / "local")

    assert (tmp_path / "local" / "m" / "1" / "model.onnx").read_bytes() == before


@pytest.mark.parametrize("damage", ["one bit", "cut off", "missing"])
def test_damaged_version_never_appears(damage: str, address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish) -> None:
    publish_affine(shelf / "m")
    graph = shelf / "m" / "1" / "model.onnx"
    content = graph.read_bytes()
    if damage == "missing":
        graph.unlink()
    else:
        graph.write_bytes(content[:-1] if damage == "cut off" else content[:-1] + bytes([content[-1] ^ 1]))

    with pytest.raises(PackageError, match=r"model\.onnx"):
        lines(address, tmp_path / "local")

    assert list((tmp_path / "local" / "m").iterdir()) == []


@pytest.mark.parametrize("name", ["../../outside", "/outside", "a\\..\\..\\outside", "C:outside"])
def test_manifest_that_leads_outside_is_refused(
    name: str, address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(shelf / "m")
    manifest = shelf / "m" / "1" / MANIFEST_NAME
    facts = json.loads(manifest.read_text())
    facts["files"][name] = facts["files"]["model.onnx"]
    manifest.write_text(json.dumps(facts))

    with pytest.raises(PackageError, match="outside the package"):
        lines(address, tmp_path / "local")

    assert list((tmp_path / "local" / "m").iterdir()) == []
    assert [path for path in tmp_path.rglob("*") if "outside" in path.name] == []


def test_names_that_are_none_are_passed_over(address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish) -> None:
    publish_affine(shelf / "m")
    (shelf / "m").rename(shelf / "-strange")
    publish_affine(shelf / "m")
    (shelf / "m" / "01").mkdir()
    (shelf / "m" / "01" / "model.onnx").write_bytes(b"no version")
    (shelf / "notes.txt").write_text("no model")

    assert lines(address, tmp_path / "local", version="all") == ["m/1  fetched, 2 files, checked"]


def test_bare_graph_is_copied_and_known_by_its_tag(
    address: Address, shelf: Path, tmp_path: Path, save: Callable[..., Path], graphs: Any
) -> None:
    save(graphs.affine(), shelf / "m" / "7")

    assert lines(address, tmp_path / "local") == ["m/7  fetched, 1 file, a bare model.onnx, nothing to check"]
    assert lines(address, tmp_path / "local") == ["m/7  is there already"]
    save(graphs.identity("FP32"), shelf / "m" / "7")
    with pytest.raises(PackageError, match="is another version 7"):
        lines(address, tmp_path / "local")


@pytest.mark.parametrize("below", ["", "1"])
def test_single_model_is_named_after_the_url_or_as_it_is_told(
    below: str, shelf: Path, tmp_path: Path, save: Callable[..., Path], graphs: Any
) -> None:
    save(graphs.affine(), shelf / "digits" / below)
    address = Address.parse((shelf / "digits").as_uri())

    lines(address, tmp_path / "a")
    lines(address, tmp_path / "b", model="other")

    assert versions(tmp_path / "a") == {"digits": [1]}
    assert versions(tmp_path / "b") == {"other": [1]}


def test_what_is_not_there_is_named(address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish) -> None:
    with pytest.raises(StoreError, match="There is no model in file://"):
        lines(address, tmp_path / "local")
    publish_affine(shelf / "m")
    with pytest.raises(StoreError, match=r"no model 'other' in .* Models there: m\."):
        lines(address, tmp_path / "local", model="other")
    with pytest.raises(StoreError, match=r"no version '2' in the store. Versions there: 1\."):
        lines(address, tmp_path / "local", version="2")


def test_half_a_published_version_is_none(address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish) -> None:
    """Without its manifest it would look like a bare graph; the claim of the publisher says that it is not."""
    publish_affine(tmp_path / "mine" / "m")
    list(push(find_local(tmp_path / "mine" / "m"), address))
    (shelf / "m" / "1" / MANIFEST_NAME).unlink()
    (shelf / "m" / "1" / ".publishing").write_text("a publisher was killed here")

    with pytest.raises(StoreError, match=r"Versions there: none\."):
        lines(address, tmp_path / "local", version="1")
