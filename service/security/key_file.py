"""The file of API keys: TOML with a table for each key, written by `axon keys`, read by the server. It holds hashes only."""

import fcntl
import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC
from pathlib import Path
from typing import Final

import msgspec

from service.errors import ConfigurationError
from service.security.keys import ApiKey, Instant, Name

_HEAD: Final = "# API keys of Axon, as hashes. Written by `axon keys`; a running server follows changes.\n"
Keys = Mapping[str, ApiKey]


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: dict[Name, ApiKey] = {}


def read(path: Path) -> Keys:
    """Read the keys by name. Raises ConfigurationError, also if there is no such file: that must never mean 'no keys needed'."""
    try:
        content = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Content)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"There is no file of API keys at {path}. Make one: axon keys create NAME --file {path}."
        ) from error
    except OSError as error:
        raise ConfigurationError(f"Cannot read the API keys in {path}: {error.strerror}. The server's user must own it.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(
            f"The API keys in {path} cannot be understood: {error}. Write the file with `axon keys`."
        ) from error
    hashes: dict[str, str] = {}
    for name, key in content.keys.items():
        if (other := hashes.setdefault(key.sha256, name)) != name:
            raise ConfigurationError(f"'{other}' and '{name}' in {path} are the same key. Revoke one of them.")
    return content.keys


def add(path: Path, name: str, key: ApiKey) -> None:
    """Add a key to the file, which is made if need be. Raises ConfigurationError for a name that is taken or cannot be one."""
    with _locked(path) as target:
        keys = dict(read(target)) if target.exists() else {}
        if name in keys:
            raise ConfigurationError(f"{path} already has a key '{name}'. Revoke it first, or choose another name.")
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError as error:
            raise ConfigurationError(
                f"A key cannot be called {name!r}. Use up to 64 letters, digits, '.', '_' and '-', a letter or digit first."
            ) from error
        _write(target, keys | {name: key})


def remove(path: Path, name: str) -> None:
    """Take a key out of the file. Raises ConfigurationError if it is not there."""
    with _locked(path) as target:
        keys = dict(read(target))
        if keys.pop(name, None) is None:
            raise ConfigurationError(f"{path} has no key '{name}'. Its keys: {', '.join(sorted(keys)) or 'none'}.")
        _write(target, keys)


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Keep other `axon keys` away from the file until the end of the block; give the path behind links."""
    target = path.resolve()
    try:
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigurationError(f"Cannot open the directory of {path}: {error.strerror}. Make it first.") from error
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield target
        with suppress(OSError):  # so that the new file is still there after a power cut, where directories can be synced
            os.fsync(directory)
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}.") from error
    finally:
        os.close(directory)


def _write(path: Path, keys: Keys) -> None:
    """Write beside, with mode 0600 from the first byte, and rename into place: a reader sees all old keys or all new ones."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(_HEAD + "".join(_table(name, key) for name, key in keys.items()))
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(OSError):  # no such file yet, or not allowed to give it away
            os.chown(name, path.stat().st_uid, path.stat().st_gid)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _table(name: str, key: ApiKey) -> str:
    """Write a key in TOML; no value needs an escape, as the types of ApiKey allow no text of a user."""
    lines = [
        f'\n[keys."{name}"]',
        f'sha256 = "{key.sha256}"',
        "scopes = [" + ", ".join(f'"{scope}"' for scope in key.scopes) + "]",
        f"created = {_instant(key.created)}",
    ]
    if key.expires is not None:
        lines.append(f"expires = {_instant(key.expires)}")
    if key.rate is not None:
        lines.append(f"rate = {key.rate!r}")
    if key.burst is not None:
        lines.append(f"burst = {key.burst}")
    return "\n".join(lines) + "\n"


def _instant(instant: Instant) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
