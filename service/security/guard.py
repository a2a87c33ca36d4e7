"""The guard at the door: which key is it, may it do this, is it within its rate. One guard for HTTP and gRPC."""

import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from service.errors import ConfigurationError, PermissionDenied, RateLimited, Unauthenticated
from service.security import key_file
from service.security.keys import ApiKey, digest
from service.security.rate import Bucket
from service.security.scopes import Scope
from service.security.stamp import stamp

logger = logging.getLogger("axon.security")
_LOOK_SECONDS: Final = 1.0  # how old the knowledge of the file may be: a revoked key works this long at most
_NOBODY: Final = bytes(32)


class Observer(Protocol):
    """Who wants to know about refused calls."""

    def refused(self, reason: str) -> None:
        """Count one; the reason is a word of this program, never of the caller."""


class _Known:
    """A key as the guard looks at it: the hash as bytes, the end as a number, the bucket filled over time."""

    def __init__(self, name: str, key: ApiKey, bucket: Bucket | None) -> None:
        self.name = name
        self.key = key
        self.digest = bytes.fromhex(key.sha256)
        self.scopes = frozenset(key.scopes)
        self.end = key.end
        self.bucket = bucket


class Guard:
    """Admits callers by the keys of a file, which it looks at again every second when somebody calls.

    `share` is the part of each key's rate that this process may spend, where several serve the same callers.
    Raises ConfigurationError if the file cannot be read at first; later a broken file leaves the keys as they were.
    """

    def __init__(
        self,
        path: Path,
        *,
        observer: Observer,
        share: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._observer = observer
        self._share = share
        self._clock = clock
        self._now = now
        self._stamp = stamp(path)
        self._known: dict[bytes, _Known] = {}
        self._set(key_file.read(path))
        self._next_look = clock() + _LOOK_SECONDS

    def admit(self, key: bytes | None, scope: Scope) -> str:
        """Return the name of the key. Raises Unauthenticated, PermissionDenied or RateLimited."""
        if self._clock() >= self._next_look:
            self._look()
        try:
            return self._admitted(key, scope)
        except (Unauthenticated, PermissionDenied, RateLimited) as error:
            self._observer.refused(error.reason)
            raise

    def _admitted(self, key: bytes | None, scope: Scope) -> str:
        if key is None:
            raise Unauthenticated.no_key()
        known = self._find(key)
        if known is None:
            raise Unauthenticated.unknown_key()
        if self._now() >= known.end:
            raise Unauthenticated.expired_key(known.name)
        if scope not in known.scopes:
            raise PermissionDenied(known.name, needed=scope, has=known.key.scopes)
        if known.bucket is not None and (wait := known.bucket.take()):
            raise RateLimited(known.name, rate=known.bucket.rate, burst=known.bucket.burst, wait=wait)
        return known.name

    def _find(self, key: bytes) -> _Known | None:
        """Look a key up by its hash, in a time that says nothing about the keys of the file.

        Who wants to come closer to a stored hash step by step would have to choose the hash of what he sends, which is what
        SHA-256 denies him; and the comparison that decides takes the same time for every hash, also for that of nobody.
        """
        sent = digest(key)
        known = self._known.get(sent)
        return known if hmac.compare_digest(sent, _NOBODY if known is None else known.digest) else None

    def _look(self) -> None:
        """Read the file again if it has changed: one look at its inode where it has not."""
        self._next_look = self._clock() + _LOOK_SECONDS
        if (found := stamp(self._path)) == self._stamp:
            return
        self._stamp = found
        try:
            self._set(key_file.read(self._path))
        except ConfigurationError as error:
            logger.error("%s The keys read before stay valid.", error)  # noqa: TRY400 -- the message says it all

    def _set(self, keys: key_file.Keys) -> None:
        before = {known.name: known for known in self._known.values()}
        self._known = {}
        for name, key in keys.items():
            known = _Known(name, key, self._bucket(key, before.get(name)))
            self._known[known.digest] = known
        logger.info("%d API keys in %s", len(keys), self._path)

    def _bucket(self, key: ApiKey, before: _Known | None) -> Bucket | None:
        """Make the bucket of a key, or keep the one that it has: a change of the file must not fill it."""
        if key.rate is None:
            return None
        if before is not None and (before.key.rate, before.key.burst) == (key.rate, key.burst):
            return before.bucket
        return Bucket(key.rate * self._share, max(1, round(key.burst_size * self._share)), clock=self._clock)
