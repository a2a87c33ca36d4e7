"""`axon keys`: make, list and revoke the API keys of a server, in its file. No server is needed, and none is told: it looks."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from service.errors import ConfigurationError
from service.security import key_file
from service.security.keys import ApiKey, digest, new_key
from service.security.scopes import Scope
from service.settings import PREFIX

Command = Callable[..., Any]
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def _file(command: Command) -> Command:
    return click.option(
        "--file",
        envvar=f"{PREFIX}API_KEYS",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("keys.toml"),
        show_default=True,
        show_envvar=True,
        help="The file of keys.",
    )(command)


@click.group()
def keys() -> None:
    """Make, list and revoke the API keys of a server.

    The server reads the same file by its setting api_keys, and follows changes within a second.
    """


@keys.command()
@click.argument("name")
@click.option("--scopes", default="infer,read", show_default=True, help="What it may do: infer, read, manage.")
@click.option("--expires", default="never", show_default=True, help="30m, 12h, 90d, 4w, a date such as 2027-01-31 (UTC), or never.")
@click.option("--rate", type=float, help="Requests a second.  [default: no limit]")
@click.option("--burst", type=int, help="Requests at once.  [default: those of a second]")
@_file
def create(name: str, scopes: str, expires: str, rate: float | None, burst: int | None, file: Path) -> None:
    """Make a key called NAME and print it.

    The key is on standard output, this once: the file holds its hash.
    """
    if burst is not None and rate is None:
        raise ConfigurationError("--burst says how far --rate may be exceeded for a moment. Give --rate as well.")
    key = new_key()
    facts = {
        "sha256": digest(key.encode()).hex(),
        "scopes": [scope.strip() for scope in scopes.split(",")],
        "created": (now := datetime.now(UTC)),
        "expires": _instant(expires, now),
        "rate": rate,
        "burst": burst,
    }
    try:
        stored = msgspec.convert(facts, ApiKey)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"No such key can be made: {error}. Scopes are {', '.join(Scope)}.") from error
    key_file.add(file, name, stored)
    click.echo(f"The key '{name}' is in {file} as a hash. Keep what follows, it is not shown again:", err=True)
    click.echo(key)


@keys.command("list")
@_file
def list_keys(file: Path) -> None:
    """List the keys: name, scopes, rate, creation and expiry. The keys themselves are nowhere."""
    found = key_file.read(file)
    width = max(map(len, found), default=0)
    for name, key in sorted(found.items()):
        rate = "no limit" if key.rate is None else f"{key.rate:g}/s, {key.burst_size} at once"
        click.echo(f"{name:<{width}}  {','.join(key.scopes):<17}  {rate:<22}  {key.created:%Y-%m-%d}  {_ending(key)}")


@keys.command()
@click.argument("name")
@_file
def revoke(name: str, file: Path) -> None:
    """Take the key NAME out of the file: a running server refuses it from the next second on."""
    key_file.remove(file, name)
    click.echo(f"The key '{name}' is revoked.")


def _ending(key: ApiKey) -> str:
    if key.expires is None:
        return "never expires"
    verb = "expired" if key.expires <= datetime.now(UTC) else "expires"
    return f"{verb} {key.expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _instant(text: str, now: datetime) -> datetime | None:
    """Read when a key expires. Raises ConfigurationError."""
    if text == "never":
        return None
    try:
        if (span := re.fullmatch(r"(\d{1,6})([mhdw])", text)) is not None:
            end = now + int(span[1]) * _UNITS[span[2]]
        else:
            end = datetime.fromisoformat(text)
            end = end if end.tzinfo else end.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"--expires {text!r} is no time. Write 30m, 12h, 90d, 4w, 2027-01-31, or never.") from error
    if end <= now:
        raise ConfigurationError(f"--expires {text} is in the past. Name a later time.")
    return end
