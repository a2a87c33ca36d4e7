"""The file of keys: what is written can be read, what is broken is refused, and two who write do not lose a key."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.security import key_file

ROOT = Path(__file__).parents[3]
HASH = "a" * 64
ENTRY = f'[keys.a]\nsha256 = "{HASH}"\nscopes = ["infer"]\ncreated = 2026-01-01T00:00:00Z\n'


def test_what_is_written_is_read(keys_path: Path, add_key: Callable[..., str]) -> None:
    add_key(keys_path, "a.b-c_1", "infer", "read", expires=timedelta(days=1), rate=0.1, burst=7)
    add_key(keys_path, "plain", "manage")
    keys = key_file.read(keys_path)

    assert list(keys) == ["a.b-c_1", "plain"]
    assert (keys["a.b-c_1"].scopes, keys["a.b-c_1"].rate, keys["a.b-c_1"].burst) == (("infer", "read"), 0.1, 7)
    assert keys["plain"].expires is None
    assert keys["a.b-c_1"].end == pytest.approx(keys["a.b-c_1"].created.timestamp() + 86400, abs=1)


def test_key_is_nowhere_in_the_file(keys_path: Path, add_key: Callable[..., str]) -> None:
    key = add_key(keys_path, "a", "infer")
    text = keys_path.read_text()

    assert key not in text
    assert key.removeprefix("axon_") not in text


def test_file_is_its_owners_alone(keys_path: Path, add_key: Callable[..., str]) -> None:
    add_key(keys_path, "a", "infer")
    keys_path.chmod(0o644)
    add_key(keys_path, "b", "infer")

    assert stat.S_IMODE(keys_path.stat().st_mode) == 0o600
    assert list(keys_path.parent.iterdir()) == [keys_path]


def test_link_stays_a_link(keys_path: Path, tmp_path: Path, add_key: Callable[..., str]) -> None:
    target = tmp_path / "target.toml"
    keys_path.symlink_to(target)
    add_key(keys_path, "a", "infer")

    assert keys_path.is_symlink()
    assert list(key_file.read(target)) == ["a"]


def test_processes_that_write_at_once_lose_no_key(keys_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli", "keys", "create", "--file", str(keys_path)]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    writers = [subprocess.Popen([*command, f"k{n}"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for n in range(4)]
    for writer in writers:
        writer.communicate(timeout=60)

    assert sorted(key_file.read(keys_path)) == ["k0", "k1", "k2", "k3"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param("[keys", "Expected", id="no TOML"),
        pytest.param(ENTRY.replace("infer", "admin"), "Invalid enum value 'admin'", id="unknown scope"),
        pytest.param(ENTRY.replace('["infer"]', "[]"), "length >= 1", id="no scope"),
        pytest.param(ENTRY.replace(HASH, "abc"), "sha256", id="no hash"),
        pytest.param(ENTRY + "expire = 1\n", "unknown field `expire`", id="misspelt"),
        pytest.param(ENTRY + "expires = 2026-01-01T00:00:00\n", "timezone", id="an instant without a time zone"),
        pytest.param(ENTRY + "rate = 0\n", "rate", id="a rate of nothing"),
        pytest.param(ENTRY + "rate = nan\n", "rate", id="a rate that is no number"),
        pytest.param(ENTRY + "rate = inf\n", "rate", id="an endless rate"),
        pytest.param(ENTRY + "burst = 0\n", "burst", id="a burst of nothing"),
        pytest.param(ENTRY.replace("keys.a", 'keys."a b"'), "matching regex", id="a name with a blank"),
        pytest.param(ENTRY + ENTRY.replace("keys.a", "keys.b"), "'a' and 'b'", id="two names for a key"),
        pytest.param('[tokens]\na = "b"\n', "unknown field `tokens`", id="something else"),
    ],
)
def test_broken_file_is_refused_by_its_name_and_problem(keys_path: Path, content: str, problem: str) -> None:
    keys_path.write_text(content)

    with pytest.raises(ConfigurationError) as caught:
        key_file.read(keys_path)
    assert str(keys_path) in str(caught.value)
    assert problem in str(caught.value)


def test_missing_file_is_an_error_and_not_an_open_door(keys_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no file of API keys"):
        key_file.read(keys_path)


def test_file_without_keys_lets_nobody_in(keys_path: Path) -> None:
    keys_path.write_text("")

    assert key_file.read(keys_path) == {}
