"""From a local repository into a store; the store is a directory behind the same library."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import AlreadyStored, ConfigurationError, PackageError, StoreError
from service.repository.manifest import Manifest
from service.storage import pushing
from service.storage.address import Address
from service.storage.pushing import find_local, push

Publish = Callable[..., Manifest]


def pushed(path: Path, address: Address) -> list[str]:
    return list(push(find_local(path), address))


def contents(directory: Path) -> dict[str, bytes]:
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("named", "number"), [("m", 2), ("m/1", 1), ("m/2/", 2)])
def test_version_is_stored_as_it_is(
    named: str, number: int, address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish
) -> None:
    for scale in (1, 2):
        publish_affine(tmp_path / "mine" / "m", scale=scale)

    assert pushed(tmp_path / "mine" / named, address) == [f"m/{number}  published, 2 files"]
    assert contents(shelf / "m" / str(number)) == contents(tmp_path / "mine" / "m" / str(number))


def test_directory_of_the_store_is_made(tmp_path: Path, publish_affine: Publish) -> None:
    publish_affine(tmp_path / "mine" / "m")

    pushed(tmp_path / "mine" / "m", Address.parse((tmp_path / "new" / "shelf").as_uri()))

    assert (tmp_path / "new" / "shelf" / "m" / "1" / "manifest.json").is_file()


def test_same_version_again_changes_nothing(address: Address, tmp_path: Path, publish_affine: Publish) -> None:
    publish_affine(tmp_path / "mine" / "m")
    (tmp_path / "mine" / "m" / "model.toml").write_text("required = true\n")

    assert len(pushed(tmp_path / "mine" / "m", address)) == 2
    assert pushed(tmp_path / "mine" / "m", address) == ["m/1  is there already"]


def test_another_version_of_the_number_is_refused(address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish) -> None:
    publish_affine(tmp_path / "mine" / "m", scale=1)
    publish_affine(tmp_path / "other" / "m", scale=2)
    pushed(tmp_path / "mine" / "m", address)
    before = contents(shelf)

    with pytest.raises(AlreadyStored, match=r"There is another m/1 in .* publish yours under a new number"):
        pushed(tmp_path / "other" / "m", address)

    assert contents(shelf) == before


def test_damaged_version_is_not_stored(address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish) -> None:
    publish_affine(tmp_path / "mine" / "m")
    (tmp_path / "mine" / "m" / "1" / "model.onnx").write_bytes(b"damaged")

    with pytest.raises(PackageError, match=r"model\.onnx has 7 bytes"):
        pushed(tmp_path / "mine" / "m", address)

    assert contents(shelf) == {}


def test_version_that_somebody_else_is_storing_is_refused(
    address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(tmp_path / "mine" / "m")
    (shelf / "m" / "1").mkdir(parents=True)
    (shelf / "m" / "1" / ".publishing").write_text("another version")

    with pytest.raises(AlreadyStored, match=r"is being published to .*remove all that is below m/1/ in"):
        pushed(tmp_path / "mine" / "m", address)

    assert contents(shelf) == {"m/1/.publishing": b"another version"}


def test_publisher_that_was_cut_off_is_continued(address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish) -> None:
    publish_affine(tmp_path / "mine" / "m")
    (shelf / "m" / "1" / "model.onnx").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"Cannot write m/1/model\.onnx"):
        pushed(tmp_path / "mine" / "m", address)
    (shelf / "m" / "1" / "model.onnx").rmdir()
    assert list(contents(shelf)) == ["m/1/.publishing"]

    assert pushed(tmp_path / "mine" / "m", address) == ["m/1  published, 2 files"]
    assert contents(shelf) == contents(tmp_path / "mine")


def test_bare_graph_is_stored_and_sealed_by_its_graph(
    address: Address, shelf: Path, tmp_path: Path, save: Callable[..., Path], graphs: Any
) -> None:
    save(graphs.affine(), tmp_path / "mine" / "m" / "3")
    (tmp_path / "mine" / "m" / "3" / "weights.bin").write_bytes(b"weights")

    assert pushed(tmp_path / "mine" / "m", address) == ["m/3  published, 2 files"]
    assert pushed(tmp_path / "mine" / "m", address) == ["m/3  is there already"]
    assert contents(shelf / "m" / "3") == contents(tmp_path / "mine" / "m" / "3")
    (tmp_path / "mine" / "m" / "3" / "weights.bin").write_bytes(b"other weights")
    with pytest.raises(AlreadyStored, match="There is another m/3"):
        pushed(tmp_path / "mine" / "m", address)


def test_directory_without_a_version_is_refused(tmp_path: Path, publish_affine: Publish) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="is no model"):
        find_local(tmp_path / "empty")
    publish_affine(tmp_path / "mine" / "m")
    publish_affine(tmp_path / "mine" / "n")
    with pytest.raises(ConfigurationError, match="is no model"):
        find_local(tmp_path / "mine")
    (tmp_path / "mine" / "m" / "9").mkdir()
    with pytest.raises(ConfigurationError, match="no version"):
        find_local(tmp_path / "mine" / "m" / "9")


@pytest.mark.parametrize("kinds", [("package", "package"), ("bare", "package"), ("package", "bare"), ("bare", "bare")])
def test_publisher_that_comes_after_another_is_refused_and_leaves_nothing(
    kinds: tuple[str, str], address: Address, shelf: Path, tmp_path: Path, publish_affine: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one publishes after this one has looked and before it makes its claim."""
    for kind, name in zip(kinds, ("other", "mine"), strict=True):
        publish_affine(tmp_path / name / "m", scale=len(name))
        if kind == "bare":
            (tmp_path / name / "m" / "1" / "manifest.json").unlink()
    claim = pushing._claim

    def late(*arguments: Any) -> bool:
        monkeypatch.setattr(pushing, "_claim", claim)
        pushed(tmp_path / "other" / "m", address)
        return claim(*arguments)

    monkeypatch.setattr(pushing, "_claim", late)
    with pytest.raises(AlreadyStored, match="There is another m/1"):
        pushed(tmp_path / "mine" / "m", address)

    assert contents(shelf) == contents(tmp_path / "other")
