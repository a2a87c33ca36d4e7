"""Shared by the tests of security: files of keys, certificates made by openssl, and a clock that is told the time."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.security import key_file
from service.security.keys import ApiKey, digest, new_key
from service.security.scopes import Scope


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.seconds


class Refusals:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def refused(self, reason: str) -> None:
        """Note a refusal."""
        self.reasons.append(reason)


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@pytest.fixture
def refusals() -> Refusals:
    """Give an observer."""
    return Refusals()


@pytest.fixture
def keys_path(tmp_path: Path) -> Path:
    """Say where the file of keys is; nothing is there yet."""
    return tmp_path / "keys.toml"


@pytest.fixture(scope="session")
def add_key() -> Callable[..., str]:
    """Return a function that adds a key to a file and returns the key; `expires` is a time from now."""

    def add(path: Path, name: str, *scopes: str, expires: timedelta | None = None, **facts: Any) -> str:
        key = new_key()
        now = datetime.now(UTC)
        end = None if expires is None else now + expires
        stored = ApiKey(sha256=digest(key.encode()).hex(), scopes=tuple(map(Scope, scopes)), created=now, expires=end, **facts)
        key_file.add(path, name, stored)
        return key

    return add


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path

    @property
    def pair(self) -> tuple[str, str]:
        """As `requests` wants them."""
        return str(self.certificate), str(self.key)


class Authority:
    """A certificate authority of a test."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self.own = self._files(name)
        options = [
            "-x509",
            "-days",
            "2",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ]
        self._request(self.own, *options, "-out", str(self.own.certificate))

    def issue(self, name: str) -> Certificate:
        """Make a certificate for 127.0.0.1, which its owner may show as a server or as a client."""
        made = self._files(f"{self._name}-{name}")
        authority = ["-CA", str(self.own.certificate), "-CAkey", str(self.own.key)]
        # What Python 3.13 asks of a certificate by default is that it says of itself that it is no authority.
        facts = ("basicConstraints=critical,CA:FALSE", "keyUsage=digitalSignature", "subjectAltName=IP:127.0.0.1")
        options = [option for fact in facts for option in ("-addext", fact)]
        self._request(made, "-x509", "-days", "2", *authority, *options, "-out", str(made.certificate))
        return made

    def _files(self, name: str) -> Certificate:
        return Certificate(self._directory / f"{name}.crt", self._directory / f"{name}.key")

    def _request(self, made: Certificate, *options: str) -> None:
        new = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subject = ["-subj", f"/CN={made.key.stem}", "-keyout", str(made.key)]
        subprocess.run([*new, *subject, *options], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Authority]:
    """Return a function that makes a certificate authority."""
    return lambda name: Authority(tmp_path_factory.mktemp("certificates"), name)


@pytest.fixture(scope="session")
def authority(make_authority: Callable[[str], Authority]) -> Authority:
    """Make the authority of most tests."""
    return make_authority("authority")


@pytest.fixture(scope="session")
def other_authority(make_authority: Callable[[str], Authority]) -> Authority:
    """Make an authority that nobody trusts."""
    return make_authority("other")


@pytest.fixture(scope="session")
def server_certificate(authority: Authority) -> Certificate:
    """Make a certificate for a server on 127.0.0.1."""
    return authority.issue("server")
