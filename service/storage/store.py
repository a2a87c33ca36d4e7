"""An object store, as far as a repository needs one: list, read, fetch, put, create. The only file that knows obstore.

obstore comes with the extra `storage` and reads the usual environment variables of each kind of store by itself. It is loaded by
the process that uses it: its threads would not survive a fork.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from service.errors import ConfigurationError, StoreError
from service.storage.address import Address
from service.storage.failures import PANIC, explained

_INSTALL: Final = "pip install 'axon-serving[storage]'"
_PART: Final = 16 << 20  # bytes of one request: the library gives each 30 seconds
_RETRIES: Final = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
_HTTP_TIMEOUT: Final = "1h"  # a file comes in one answer


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object: its key below the URL, its size in bytes, and what changes whenever it does."""

    key: str
    size: int
    e_tag: str | None


def require_library() -> None:
    """Raise ConfigurationError if obstore is not installed."""
    if importlib.util.find_spec("obstore") is None:
        raise ConfigurationError(f"Repositories in object stores need the package obstore. Install it: {_INSTALL}.")


class Store:
    """What lies below a URL. All errors are StoreError; where an object is looked for, ObjectMissing says that there is none."""

    def __init__(self, address: Address, *, writing: bool = False) -> None:
        require_library()
        self.address = address
        self._library = importlib.import_module("obstore")
        with self._explaining("use the store"):
            self._store = _opened(importlib.import_module("obstore.store"), address, writing=writing)

    def list(self, prefix: str = "") -> dict[str, StoredObject]:
        """Return all objects by their keys, those below `prefix` if it is given."""
        with self._explaining("list the objects"):
            found = self._library.list(self._store, prefix or None).collect()
        return {meta["path"]: StoredObject(meta["path"], meta["size"], meta["e_tag"]) for meta in found}

    def read(self, key: str, *, limit: int) -> bytes:
        """Return the content of an object. Raises StoreError if it has more than `limit` bytes."""
        with self._explaining(f"read {key}"):
            answer = self._library.get(self._store, key)
            if answer.meta["size"] > limit:
                raise StoreError(f"{key} in {self.address.url} has {answer.meta['size']} bytes, expected {limit} at the most.")
            return bytes(answer.bytes())

    def fetch(self, key: str, target: Path) -> StoredObject:
        """Copy an object into a new file and return what it was; an object that changes meanwhile is an error."""
        with self._explaining(f"fetch {key}"), target.open("xb") as stream:
            answer = self._library.get(self._store, key, options=None if self._in_one else {"range": (0, _PART)})
            meta = answer.meta
            for chunk in answer.stream():
                stream.write(chunk)
            unchanged = {"if_match": meta["e_tag"]} if meta["e_tag"] else {}
            while not self._in_one and (done := stream.tell()) < meta["size"]:
                options = {"range": (done, min(done + _PART, meta["size"])), **unchanged}
                stream.write(self._library.get(self._store, key, options=options).bytes())
        return StoredObject(key, meta["size"], meta["e_tag"])

    def put(self, key: str, content: Path | bytes) -> None:
        """Store an object, in place of what is there."""
        with self._explaining(f"write {key}"):
            self._library.put(self._store, key, content)

    def create(self, key: str, content: Path | bytes) -> None:
        """Store an object that is not there yet. Raises AlreadyStored, and never both for two who try at the same time."""
        with self._explaining(f"create {key}"):
            self._library.put(self._store, key, content, mode="create")

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._explaining(f"remove {key}"):
            self._library.delete(self._store, key)

    @property
    def _in_one(self) -> bool:
        """Whether a file comes in one answer: many HTTP servers know no ranges."""
        return self.address.kind == "HTTP"

    @contextmanager
    def _explaining(self, action: str) -> Iterator[None]:
        """Translate what the library raises."""
        try:
            yield
        except StoreError:
            raise
        except BaseException as error:  # the library's errors, and Python's own for what it has a class for
            if not isinstance(error, Exception) and type(error).__name__ != PANIC:
                raise
            if isinstance(error, OSError) and error.filename is not None:  # this machine's file, not the store's
                raise StoreError(f"Cannot {action}: {error.filename}: {error.strerror}.") from error
            raise explained(error, self.address, action) from None


def _opened(stores: Any, address: Address, *, writing: bool) -> object:  # noqa: ANN401 -- a module that is loaded when it is needed
    if address.kind == "file":
        return stores.LocalStore(Path(unquote(urlsplit(address.url).path)), mkdir=writing)
    options: Mapping[str, Any] = {"retry_config": _RETRIES}
    if address.kind == "HTTP":
        options = {**options, "client_options": {"timeout": _HTTP_TIMEOUT, "allow_http": address.scheme == "http"}}
    from_url = cast("Callable[..., object]", stores.from_url)
    return from_url(address.url + ("/" if address.kind == "HTTP" else ""), **options)
