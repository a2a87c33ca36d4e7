"""API keys: how one is made, what is kept of it, and how a caller presents it.

A key is 32 random bytes, so nobody can guess it and no dictionary holds it. One SHA-256 is therefore all the protection that
its hash needs: the slow, salted functions for passwords slow down the guessing of what people choose, and here they would only
slow down each request. Who reads the file of hashes can use none of them.
"""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime
from math import ceil, inf
from typing import Annotated, Final

import msgspec

from service.security.scopes import Scope

PREFIX: Final = "axon_"  # by which people and secret scanners recognise a key
_BYTES: Final = 32  # of entropy
_BEARER: Final = b"bearer "
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is kept of a key.

    sha256: hash of the key, in hexadecimal digits.
    scopes: what it may do.
    created, expires: instants with a time zone; without `expires` it stays valid until it is revoked.
    rate: requests per second; without it there is no limit.
    burst: how many requests may come at once; what a second allows unless set.
    """

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)]
    created: Instant
    expires: Instant | None = None
    rate: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None

    @property
    def end(self) -> float:
        """When it expires, in seconds since the epoch."""
        return inf if self.expires is None else self.expires.timestamp()

    @property
    def burst_size(self) -> int:
        """The burst that holds: at least one request, else nothing would ever pass."""
        return self.burst or max(1, ceil(self.rate or 1))


def new_key() -> str:
    """Make a key: the prefix and 32 random bytes in the alphabet of URLs."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def digest(key: bytes) -> bytes:
    """Return the SHA-256 of a key; see above why this is enough."""
    return hashlib.sha256(key).digest()


def presented(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Find the key in headers (names in lower case): `Authorization: Bearer` ranks before `X-API-Key`.

    Any other kind of authorization is not for this server: a proxy in front may have used it.
    """
    found = None
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == _BEARER:
            return value[7:].strip() or None
        if name == b"x-api-key":
            found = value.strip()
    return found or None
