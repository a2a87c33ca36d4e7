"""Who is admitted."""

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError, PermissionDenied, RateLimited, Unauthenticated
from service.security import key_file
from service.security.guard import Guard
from service.security.scopes import Scope


@pytest.fixture
def guarded(keys_path: Path, refusals: Any, clock: Any) -> Callable[..., Guard]:
    """Return a function that makes a guard over the file of keys, with the clock of the test."""
    return lambda **options: Guard(keys_path, observer=refusals, clock=clock, **options)


def test_key_is_admitted_by_its_name(keys_path: Path, add_key: Callable[..., str], guarded: Callable[..., Guard]) -> None:
    first, second = add_key(keys_path, "first", "infer"), add_key(keys_path, "second", "infer", "manage")
    guard = guarded()

    assert guard.admit(first.encode(), Scope.INFER) == "first"
    assert guard.admit(second.encode(), Scope.MANAGE) == "second"


def test_refusals_tell_the_caller_what_is_wrong_and_are_counted(
    keys_path: Path, add_key: Callable[..., str], guarded: Callable[..., Guard], refusals: Any
) -> None:
    key = add_key(keys_path, "app", "infer", "read")
    old = add_key(keys_path, "old", "infer", expires=timedelta(seconds=-1))
    guard = guarded()

    with pytest.raises(Unauthenticated, match="needs an API key") as no_key:
        guard.admit(None, Scope.INFER)
    with pytest.raises(Unauthenticated, match="not valid here") as unknown:
        guard.admit(key[:-1].encode(), Scope.INFER)
    with pytest.raises(Unauthenticated, match="'old' has expired"):
        guard.admit(old.encode(), Scope.INFER)
    with pytest.raises(PermissionDenied, match=r"lacks the scope 'manage' .* has infer, read") as denied:
        guard.admit(key.encode(), Scope.MANAGE)

    assert refusals.reasons == ["no_key", "unknown_key", "expired_key", "wrong_scope"]
    assert no_key.value.headers == {"www-authenticate": 'Bearer realm="axon"'}
    assert unknown.value.headers == {"www-authenticate": 'Bearer realm="axon", error="invalid_token"'}
    assert 'scope="manage"' in denied.value.headers["www-authenticate"]


def test_unknown_keys_are_all_answered_alike(keys_path: Path, add_key: Callable[..., str], guarded: Callable[..., Guard]) -> None:
    key = add_key(keys_path, "app", "infer")
    guard = guarded()
    messages = set()
    for wrong in (key[:-1], key + "a", key.upper(), "", "axon_", "x" * 10_000, key_file.read(keys_path)["app"].sha256, "app"):
        with pytest.raises(Unauthenticated) as caught:
            guard.admit(wrong.encode(), Scope.INFER)
        messages.add(str(caught.value))

    assert len(messages) == 1


def test_key_expires_while_the_server_runs(keys_path: Path, add_key: Callable[..., str], refusals: Any, clock: Any) -> None:
    key = add_key(keys_path, "app", "infer", expires=timedelta(hours=1)).encode()
    now = key_file.read(keys_path)["app"].created.timestamp()
    guard = Guard(keys_path, observer=refusals, clock=clock, now=lambda: now)
    guard.admit(key, Scope.INFER)
    now += 3600

    with pytest.raises(Unauthenticated, match="expired"):
        guard.admit(key, Scope.INFER)


def test_each_key_has_its_own_rate(keys_path: Path, add_key: Callable[..., str], guarded: Callable[..., Guard]) -> None:
    slow = add_key(keys_path, "slow", "infer", rate=0.5).encode()
    fast = add_key(keys_path, "fast", "infer", rate=100.0, burst=3).encode()
    free = add_key(keys_path, "free", "infer").encode()
    guard = guarded()
    guard.admit(slow, Scope.INFER)
    for _ in range(3):
        guard.admit(fast, Scope.INFER)
        guard.admit(free, Scope.INFER)

    with pytest.raises(
        RateLimited, match=r"'slow' may send 0.5 requests a second here, 1 at once. Try again in 2.000 s"
    ) as limited:
        guard.admit(slow, Scope.INFER)
    assert limited.value.headers == {"retry-after": "2"}
    with pytest.raises(RateLimited, match=r"in 0.010 s") as limited:
        guard.admit(fast, Scope.INFER)
    assert limited.value.headers == {"retry-after": "1"}
    assert guard.admit(free, Scope.INFER) == "free"


def test_process_spends_only_its_share_of_a_rate(
    keys_path: Path, add_key: Callable[..., str], guarded: Callable[..., Guard], clock: Any
) -> None:
    key = add_key(keys_path, "app", "infer", rate=100.0).encode()
    guard = guarded(share=0.25)
    passed = 0
    for step in range(4000):
        clock.seconds = 1000.0 + step / 1000
        try:
            guard.admit(key, Scope.INFER)
            passed += 1
        except RateLimited:
            continue

    assert passed == pytest.approx(25 + 4 * 25, abs=1)


def test_changes_of_the_file_are_followed(
    keys_path: Path, add_key: Callable[..., str], guarded: Callable[..., Guard], clock: Any
) -> None:
    key = add_key(keys_path, "app", "infer").encode()
    guard = guarded()
    later = add_key(keys_path, "later", "infer").encode()
    key_file.remove(keys_path, "app")
    clock.seconds += 1.0

    assert guard.admit(later, Scope.INFER) == "later"
    with pytest.raises(Unauthenticated, match="not valid here"):
        guard.admit(key, Scope.INFER)


def test_changed_file_does_not_fill_the_buckets(
    keys_path: Path, add_key: Callable[..., str], guarded: Callable[..., Guard], clock: Any
) -> None:
    key = add_key(keys_path, "app", "infer", rate=0.01).encode()
    guard = guarded()
    guard.admit(key, Scope.INFER)
    add_key(keys_path, "other", "infer")
    clock.seconds += 1.0

    with pytest.raises(RateLimited):
        guard.admit(key, Scope.INFER)


@pytest.mark.parametrize("damage", [lambda path: path.write_text("[keys"), lambda path: path.unlink()], ids=["broken", "gone"])
def test_damaged_file_keeps_the_old_keys_and_is_told_once(
    keys_path: Path,
    add_key: Callable[..., str],
    guarded: Callable[..., Guard],
    clock: Any,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], Any],
) -> None:
    key = add_key(keys_path, "app", "infer").encode()
    guard = guarded()
    damage(keys_path)
    with caplog.at_level(logging.ERROR, "axon.security"):
        for _ in range(5):
            clock.seconds += 1.0
            assert guard.admit(key, Scope.INFER) == "app"

    assert [record.message for record in caplog.records if "stay valid" in record.message and str(keys_path) in record.message]
    assert len(caplog.records) == 1


def test_mounted_secret_is_followed_through_its_links(
    tmp_path: Path, add_key: Callable[..., str], refusals: Any, clock: Any
) -> None:
    """Kubernetes writes a new directory and lets one link point to it; the times of the files may all be the same."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
    keys = [add_key(tmp_path / version / "keys.toml", "app", "infer").encode() for version in ("v1", "v2")]
    for version in ("v1", "v2"):
        os.utime(tmp_path / version / "keys.toml", (1, 1))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "keys.toml").symlink_to("..data/keys.toml")
    guard = Guard(tmp_path / "keys.toml", observer=refusals, clock=clock)
    assert guard.admit(keys[0], Scope.INFER) == "app"
    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    clock.seconds += 1.0

    assert guard.admit(keys[1], Scope.INFER) == "app"


def test_guard_without_a_file_does_not_begin(keys_path: Path, guarded: Callable[..., Guard]) -> None:
    assert not keys_path.exists()
    with pytest.raises(ConfigurationError, match="no file of API keys"):
        guarded()
