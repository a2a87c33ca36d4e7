"""A store's repository in a directory of this machine, as far as it is served: the processes of all servers here share it.

Only versions that model.toml asks for are fetched, and older ones in place of those that turn out to be unusable. What is in the
store no longer goes from here as well; what is not asked for any more stays until the directory grows beyond its limit.
"""

import hashlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from service.errors import AxonError, PackageError
from service.repository.configuration import All, Latest, ModelConfiguration, Specific
from service.repository.layout import find_versions, is_name
from service.repository.maintenance import remove_version
from service.repository.source import Key
from service.storage.address import Address
from service.storage.catalogue import CONFIGURATION_NAME, StoredModel, StoredVersion, catalogue
from service.storage.fetching import fetch_configuration, fetch_version
from service.storage.origin import Origin
from service.storage.store import Store

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger("axon.storage")
_LOCK_NAME: Final = ".lock"
_DIRECTORY: Final = "repositories"


class Mirror:
    """The repository at `address`, in a directory below `cache_directory`, which must be private.

    `model_name` is the name of the model if the store holds a single one. Versions that nobody asks for are kept as long as all
    together have at most `limit` bytes. `on_failure` is called whenever the store fails or has a version that is damaged.
    """

    def __init__(
        self, address: Address, cache_directory: Path, *, model_name: str | None, limit: int, on_failure: Callable[[], None]
    ) -> None:
        digest = hashlib.sha256(f"{address.url}\n{model_name or ''}".encode()).hexdigest()[:16]
        self.root = cache_directory / _DIRECTORY / f"{address.model_name}-{digest}"
        self.reached = False
        self._address = address
        self._model_name = model_name
        self._limit = limit
        self._on_failure = on_failure
        self._store: Store | None = None
        self._complaint = ""
        self._crowded = False
        self._verified: set[Key] = set()
        self._refused: dict[Key, StoredVersion] = {}
        self._seen: dict[Key, Origin | None] = {}

    def refresh(self, *, serving: AbstractSet[Key], failed: AbstractSet[Key]) -> bool:
        """Fetch what is new and wanted, remove what is gone. If that fails, it is logged once, and what is here stays."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                self._refresh(serving, failed)
        except (AxonError, OSError) as error:
            self._complain(str(error))
            return False
        if self._complaint:
            logger.info("%s is in reach again", self._address.url)
        self._complaint = ""
        self.reached = True
        before, self._seen = self._seen, {key: Origin.read(directory) for key, directory in self._versions().items()}
        return before != self._seen

    def _refresh(self, serving: AbstractSet[Key], failed: AbstractSet[Key]) -> None:
        self._store = self._store or Store(self._address)
        models = self._named(catalogue(self._store))
        self._remove_all_but(models)
        wanted: set[Key] = set()
        for model in models.values():
            fetch_configuration(self._store, model, self.root / model.name)
            wanted |= self._bring(self._store, model, failed)
        self._make_room(wanted, serving)

    def _named(self, models: dict[str, StoredModel]) -> dict[str, StoredModel]:
        """Give a single model the name that is set."""
        if self._model_name is None or len(models) != 1:
            return models
        (model,) = models.values()
        return {self._model_name: replace(model, name=self._model_name)}

    def _bring(self, store: Store, model: StoredModel, failed: AbstractSet[Key]) -> set[Key]:
        """Fetch the versions of a model that are wanted, and return them."""
        try:
            policy: Latest | All | Specific = ModelConfiguration.read(self.root / model.name).versions
        except AxonError:  # loading says what is wrong with model.toml
            policy = Latest()
        wanted: set[Key] = set()
        usable = 0
        for number in policy.candidates(model.versions):
            if usable == policy.count:
                break
            key = (model.name, number)
            wanted.add(key)
            if self._ensure(store, key, model.versions[number]) and key not in failed:
                usable += 1
        return wanted

    def _ensure(self, store: Store, key: Key, version: StoredVersion) -> bool:
        """Fetch a version unless it is here, or was refused as it is now; return whether it is here."""
        directory = self._directory(key)
        if self._is_here(key, version):
            return True
        if self._refused.get(key) == version:
            return directory.exists()
        try:
            fetch_version(store, version, directory.parent)
        except PackageError as error:
            self._refused[key] = version
            self._on_failure()
            logger.error("version %d of model %s is not taken: %s", version.number, key[0], error)  # noqa: TRY400 -- it says it all
            return directory.exists()
        self._verified.add(key)
        logger.info("version %d of model %s fetched from %s", version.number, key[0], self._address.url)
        return True

    def _is_here(self, key: Key, version: StoredVersion) -> bool:
        """Say whether a version is here as it is in the store. Its files are read once in a process."""
        directory = self._directory(key)
        origin = Origin.read(directory)
        if origin is None or not origin.is_of(version):
            return False
        if key not in self._verified:
            try:
                origin.verify(directory)
            except PackageError as error:
                logger.warning("%s It is fetched again.", error)
                return False
            self._verified.add(key)
        return True

    def _remove_all_but(self, models: Mapping[str, StoredModel]) -> None:
        for name, number in self._versions():
            if name not in models or number not in models[name].versions:
                logger.info("version %d of model %s is no longer in %s", number, name, self._address.url)
                self._remove((name, number))
        for directory in self._model_directories():
            if directory.name not in models:
                shutil.rmtree(directory, ignore_errors=True)
            elif models[directory.name].configuration is None:
                (directory / CONFIGURATION_NAME).unlink(missing_ok=True)

    def _make_room(self, wanted: AbstractSet[Key], serving: AbstractSet[Key]) -> None:
        """Remove versions that nobody asks for, the one that came first at first, as long as all are larger than the limit."""
        sizes = {key: _size(directory) for key, directory in self._versions().items()}
        spare = sorted(sizes.keys() - wanted - serving, key=lambda key: self._directory(key).stat().st_mtime)
        while sum(sizes.values()) > self._limit and spare:
            key = spare.pop(0)
            logger.info("version %d of model %s makes room in %s", key[1], key[0], self.root)
            self._remove(key)
            del sizes[key]
        crowded = sum(sizes.values()) > self._limit
        if crowded and not self._crowded:
            logger.warning(
                "the models in use take %d bytes of %s, more than cache_limit = %d", sum(sizes.values()), self.root, self._limit
            )
        self._crowded = crowded

    def _remove(self, key: Key) -> None:
        self._verified.discard(key)
        remove_version(self._directory(key))

    def _versions(self) -> dict[Key, Path]:
        return {
            (directory.name, number): path
            for directory in self._model_directories()
            for number, path in find_versions(directory).items()
        }

    def _model_directories(self) -> list[Path]:
        return [path for path in self.root.iterdir() if is_name(path.name) and path.is_dir()]

    def _directory(self, key: Key) -> Path:
        return self.root / key[0] / str(key[1])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the other processes out: one fetches, the others find it here."""
        with (self.root / _LOCK_NAME).open("a") as lock:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _complain(self, message: str) -> None:
        self._on_failure()
        if message != self._complaint:
            has = "what is here is served on" if any(self._model_directories()) else "there is nothing here to serve yet"
            logger.error("%s; %s, and it is tried again", message.rstrip("."), has)
        self._complaint = message


def _size(directory: Path) -> int:
    """Return the bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
