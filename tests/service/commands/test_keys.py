"""`axon keys`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service import cli
from service.errors import AxonError, ConfigurationError
from service.security import key_file
from service.security.keys import digest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Say where the keys are to be."""
    return tmp_path / "keys.toml"


def run(path: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(cli.axon, ["keys", *arguments], env={"AXON_API_KEYS": str(path)})
    if isinstance(result.exception, AxonError):
        raise result.exception
    return result


def test_key_is_alone_on_standard_output_and_its_hash_in_the_file(path: Path) -> None:
    result = run(path, "create", "app", "--scopes", "infer,read", "--expires", "90d", "--rate", "100")
    key = result.stdout.strip()
    stored = key_file.read(path)["app"]

    assert result.exit_code == 0
    assert key.startswith("axon_")
    assert "not shown again" in result.stderr
    assert digest(key.encode()).hex() == stored.sha256
    assert (stored.scopes, stored.rate, stored.burst_size) == (("infer", "read"), 100.0, 100)
    assert stored.expires is not None
    assert abs(stored.expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)


def test_keys_are_listed_with_what_they_may_do(path: Path) -> None:
    run(path, "create", "app", "--rate", "2.5", "--burst", "10", "--expires", "2999-01-31")
    run(path, "create", "operations", "--scopes", "manage")
    lines = run(path, "list").output.splitlines()
    today = f"{datetime.now(UTC):%Y-%m-%d}"

    assert [line.split() for line in lines] == [
        ["app", "infer,read", "2.5/s,", "10", "at", "once", today, "expires", "2999-01-31", "00:00", "UTC"],
        ["operations", "manage", "no", "limit", today, "never", "expires"],
    ]


def test_revoked_key_is_gone(path: Path) -> None:
    run(path, "create", "app")
    run(path, "create", "other")

    assert run(path, "revoke", "app").output == "The key 'app' is revoked.\n"
    assert list(key_file.read(path)) == ["other"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["create", "app"], "already has a key 'app'"),
        (["create", "a b"], "cannot be called 'a b'"),
        (["create", "x" * 65], "cannot be called"),
        (["create", "x", "--scopes", "infer,admin"], r"Invalid enum value 'admin'.*Scopes are infer, read, manage"),
        (["create", "x", "--scopes", ""], "Scopes are"),
        (["create", "x", "--rate", "0"], "rate"),
        (["create", "x", "--rate", "nan"], "rate"),
        (["create", "x", "--burst", "5"], "Give --rate as well"),
        (["create", "x", "--expires", "soon"], "'soon' is no time"),
        (["create", "x", "--expires", "0d"], "in the past"),
        (["create", "x", "--expires", "2001-01-01"], "in the past"),
        (["create", "x", "--expires", "999999w"], "is no time"),
        (["revoke", "x"], "has no key 'x'. Its keys: app"),
        (["list", "--file", "/nonexistent/keys.toml"], "There is no file of API keys"),
        (["create", "x", "--file", "/nonexistent/keys.toml"], "Make it first"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_mistake_is_explained_and_changes_nothing(path: Path, arguments: list[str], problem: str) -> None:
    run(path, "create", "app")
    before = path.read_bytes()

    with pytest.raises(ConfigurationError, match=problem):
        run(path, *arguments)
    assert path.read_bytes() == before
