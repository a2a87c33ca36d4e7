"""A store in the cache directory: what is fetched, what goes, and what stays when the store is out of reach."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.repository.layout import find_models
from service.repository.manifest import Manifest
from service.repository.source import Directory
from service.storage.address import Address
from service.storage.mirror import Mirror
from service.storage.source import source_of

Publish = Callable[..., Manifest]
Make = Callable[..., Mirror]


@pytest.fixture
def failures() -> list[None]:
    """Collect what the mirror counts as failures."""
    return []


@pytest.fixture
def mirror_of(address: Address, tmp_path: Path, failures: list[None]) -> Make:
    """Return a function that makes a mirror of the store, as each process of a server does."""

    def make(*, model_name: str | None = None, limit: int = 10**9) -> Mirror:
        return Mirror(address, tmp_path / "cache", model_name=model_name, limit=limit, on_failure=lambda: failures.append(None))

    return make


def refreshed(mirror: Mirror, *, serving: set[Any] | None = None, failed: set[Any] | None = None) -> bool:
    return mirror.refresh(serving=serving or set(), failed=failed or set())


def versions(mirror: Mirror) -> dict[str, list[int]]:
    return {model.name: list(model.versions) for model in find_models(mirror.root)}


def test_what_model_toml_asks_for_is_fetched(mirror_of: Make, shelf: Path, publish_affine: Publish) -> None:
    for name in ("plain", "two", "named"):
        for scale in range(3):
            publish_affine(shelf / name, scale=scale)
    (shelf / "two" / "model.toml").write_text('[versions]\npolicy = "latest"\ncount = 2\n')
    (shelf / "named" / "model.toml").write_text('[versions]\npolicy = "specific"\nnumbers = [1]\n')
    mirror = mirror_of()

    assert refreshed(mirror)
    assert versions(mirror) == {"plain": [3], "two": [2, 3], "named": [1]}
    assert mirror.reached
    assert not refreshed(mirror)


def test_new_version_comes_and_one_that_is_gone_goes(mirror_of: Make, shelf: Path, publish_affine: Publish) -> None:
    publish_affine(shelf / "m", scale=1)
    publish_affine(shelf / "other")
    mirror = mirror_of()
    refreshed(mirror)
    publish_affine(shelf / "m", scale=2)
    for path in sorted((shelf / "other").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    assert refreshed(mirror)
    assert versions(mirror) == {"m": [1, 2]}
    for path in (shelf / "m" / "2").iterdir():
        path.unlink()
    assert refreshed(mirror)
    assert versions(mirror) == {"m": [1]}


def test_model_toml_follows(mirror_of: Make, shelf: Path, publish_affine: Publish) -> None:
    publish_affine(shelf / "m")
    mirror = mirror_of()
    configuration = shelf / "m" / "model.toml"
    copy = mirror.root / "m" / "model.toml"
    for text in ("required = true\n", "required = false\n"):
        configuration.write_text(text)
        refreshed(mirror)
        assert copy.read_text() == text
    configuration.unlink()
    refreshed(mirror)

    assert not copy.exists()


def test_older_version_takes_the_place_of_one_that_does_not_load(mirror_of: Make, shelf: Path, publish_affine: Publish) -> None:
    for scale in range(3):
        publish_affine(shelf / "m", scale=scale)
    mirror = mirror_of()
    refreshed(mirror)

    assert refreshed(mirror, failed={("m", 3)})
    assert versions(mirror) == {"m": [2, 3]}


def test_damaged_version_is_refused_once_and_the_older_one_serves(
    mirror_of: Make, shelf: Path, publish_affine: Publish, failures: list[None], caplog: pytest.LogCaptureFixture
) -> None:
    publish_affine(shelf / "m", scale=1)
    publish_affine(shelf / "m", scale=2)
    good = (shelf / "m" / "2" / "model.onnx").read_bytes()
    (shelf / "m" / "2" / "model.onnx").write_bytes(good[:-1] + b"!")
    mirror = mirror_of()

    for _ in range(3):
        refreshed(mirror)
    assert versions(mirror) == {"m": [1]}
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "version 2 of model m is not taken" in caplog.text
    assert len(failures) == 1

    (shelf / "m" / "2" / "model.onnx").write_bytes(good)
    assert refreshed(mirror)
    assert versions(mirror) == {"m": [1, 2]}


def test_store_out_of_reach_is_said_once_and_what_is_here_stays(
    mirror_of: Make, shelf: Path, publish_affine: Publish, failures: list[None], caplog: pytest.LogCaptureFixture
) -> None:
    publish_affine(shelf / "m")
    refreshed(mirror_of())
    away = shelf.rename(shelf.with_name("away"))
    mirror = mirror_of()
    caplog.clear()

    for _ in range(3):
        assert not refreshed(mirror)
    assert versions(mirror) == {"m": [1]}
    assert not mirror.reached
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert "what is here is served on" in caplog.text
    assert len(failures) == 3

    away.rename(shelf)
    caplog.set_level(logging.INFO)
    refreshed(mirror)
    assert mirror.reached
    assert "in reach again" in caplog.text


def test_one_process_fetches_and_the_others_find_it(mirror_of: Make, shelf: Path, publish_affine: Publish) -> None:
    publish_affine(shelf / "m")
    first, second = mirror_of(), mirror_of()

    assert refreshed(first)
    inode = (first.root / "m" / "1").stat().st_ino
    assert refreshed(second)

    assert (second.root / "m" / "1").stat().st_ino == inode


def test_version_that_is_damaged_in_the_cache_is_fetched_again(mirror_of: Make, shelf: Path, publish_affine: Publish) -> None:
    publish_affine(shelf / "m")
    refreshed(mirror_of())
    copy = mirror_of().root / "m" / "1" / "model.onnx"
    copy.write_bytes(copy.read_bytes()[:-1])

    refreshed(mirror_of())

    assert copy.read_bytes() == (shelf / "m" / "1" / "model.onnx").read_bytes()


def test_version_that_was_replaced_in_the_store_is_fetched_again(mirror_of: Make, shelf: Path, publish_affine: Publish) -> None:
    publish_affine(shelf / "m", scale=1)
    mirror = mirror_of()
    refreshed(mirror)
    for path in sorted((shelf / "m").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    publish_affine(shelf / "m", scale=2)

    assert refreshed(mirror)
    assert (mirror.root / "m" / "1" / "model.onnx").read_bytes() == (shelf / "m" / "1" / "model.onnx").read_bytes()


def test_versions_that_do_not_serve_make_room_first(mirror_of: Make, shelf: Path, publish_affine: Publish) -> None:
    mirror = mirror_of(limit=0)
    for number in (1, 2, 3):
        publish_affine(shelf / "m", scale=number)
        refreshed(mirror, serving={("m", number - 1)})
        if (mirror.root / "m" / str(number)).exists():
            os.utime(mirror.root / "m" / str(number), (number, number))

    assert versions(mirror) == {"m": [2, 3]}  # 3 is asked for, 2 still serves
    refreshed(mirror, serving={("m", 3)})
    assert versions(mirror) == {"m": [3]}


def test_models_in_use_are_kept_beyond_the_limit(
    mirror_of: Make, shelf: Path, publish_affine: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    publish_affine(shelf / "m")
    mirror = mirror_of(limit=10)

    for _ in range(2):
        refreshed(mirror)

    assert versions(mirror) == {"m": [1]}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "more than cache_limit = 10" in caplog.text


def test_single_model_gets_the_name_that_is_set(mirror_of: Make, shelf: Path, publish_affine: Publish) -> None:
    publish_affine(shelf / "m")
    mirror = mirror_of(model_name="digits")

    refreshed(mirror)

    assert [model.name for model in find_models(mirror.root, model_name="digits")] == ["digits"]


def test_source_of_a_directory_is_the_directory(tmp_path: Path) -> None:
    source = source_of(str(tmp_path), model_name=None, cache_directory=None, cache_limit=0, on_failure=lambda: None)

    assert isinstance(source, Directory)
    assert source.root == tmp_path
    assert not source.refresh(serving=set(), failed=set())


def test_cache_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)

    with pytest.raises(ConfigurationError, match="Set cache_directory"):
        source_of("s3://b/c", model_name=None, cache_directory=tmp_path / "cache", cache_limit=0, on_failure=lambda: None)


def test_user_without_a_home_must_name_a_cache_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)

    with pytest.raises(ConfigurationError, match="Set cache_directory"):
        source_of("s3://b/c", model_name=None, cache_directory=None, cache_limit=0, on_failure=lambda: None)


def test_without_obstore_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(ConfigurationError, match=r"pip install 'axon-serving\[storage\]'"):
        source_of("s3://b/c", model_name=None, cache_directory=tmp_path / "cache", cache_limit=0, on_failure=lambda: None)
