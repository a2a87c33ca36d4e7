"""The models in memory: which versions there are, in which state, and which one answers a request."""

import asyncio
import logging
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import Protocol

import msgspec

from service.errors import AxonError, ModelNotFound, ModelNotReady, VersionNotFound
from service.inference.loading import load
from service.inference.served_model import LoadedModel, ModelObserver, ServedModel
from service.repository.layout import ModelDirectory, find_models

logger = logging.getLogger("axon.registry")


class State(StrEnum):
    """State of a model version, by the names of the Open Inference Protocol's model repository extension."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


class VersionStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the repository index. `version` is absent for a model without any; `reason` says why it is unavailable."""

    name: str
    state: State
    version: str = ""
    reason: str = ""


class RegistryObserver(Protocol):
    """Is told of loads and states."""

    def model(self, name: str, version: int) -> ModelObserver:
        """Return the observer of a version that starts to serve."""

    def state_changed(self, status: VersionStatus) -> None:
        """Report the state that a version has now."""

    def load_ended(self, name: str, *, seconds: float, failed: bool) -> None:
        """Report that the loading of a version has ended, well or not."""


class Registry:
    """Loads the newest version of every model of a repository and finds the one that a request means.

    Belongs to the event loop; loading itself happens on threads, one version at a time.
    """

    def __init__(self, root: Path, *, model_name: str | None, provider: str, observer: RegistryObserver) -> None:
        self._root = root
        self._model_name = model_name
        self._provider = provider
        self._observer = observer
        self._served: dict[str, dict[int, ServedModel]] = {}
        self._statuses: dict[str, VersionStatus] = {}
        self._complete = False

    @property
    def ready(self) -> bool:
        """Whether the start is over and at least one model serves."""
        return self._complete and bool(self._served)

    async def load_all(self) -> None:
        """Load every model. One that cannot be loaded is logged and kept in the index, and stops no other."""
        try:
            models = await asyncio.to_thread(find_models, self._root, model_name=self._model_name)
        except (AxonError, OSError):
            logger.exception("cannot read the model repository %s", self._root)
            models = []
        for model in models:
            await self._load_newest(model)
        self._complete = True
        logger.info("%d of %d models ready in %s", len(self._served), len(models), self._root)

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """Return the model version that a request means; without a version the newest that is ready.

        Raises ModelNotFound, VersionNotFound or ModelNotReady.
        """
        versions = self._served.get(name)
        if versions is None:
            raise self._absent(name)
        if version is None:
            return versions[max(versions)]
        number = int(version) if version.isascii() and version.isdecimal() else None
        if number not in versions:
            raise VersionNotFound(name, version, versions)
        return versions[number]

    def index(self) -> list[VersionStatus]:
        """List every model version that the registry knows of."""
        return list(self._statuses.values())

    def served(self) -> list[ServedModel]:
        """List the model versions that are ready."""
        return [model for versions in self._served.values() for model in versions.values()]

    def versions(self, name: str) -> list[int]:
        """List the ready versions of a model, oldest first."""
        return sorted(self._served.get(name, ()))

    async def close(self) -> None:
        """Finish what was accepted and unload everything."""
        self._complete = False
        served = self.served()
        for model in served:
            self._set_status(VersionStatus(model.name, State.UNLOADING, str(model.version)))
        await asyncio.gather(*(model.close() for model in served))
        self._served.clear()

    async def _load_newest(self, model: ModelDirectory) -> None:
        if not model.versions:
            reason = f"{model.path} holds no version: a directory such as {model.path.name}/1 with a model.onnx in it"
            self._fail(VersionStatus(model.name, State.UNAVAILABLE, reason=reason))
            return
        version = max(model.versions)
        self._set_status(VersionStatus(model.name, State.LOADING, str(version)))
        started_at = perf_counter()
        try:
            loaded = await asyncio.to_thread(load, model, version, provider=self._provider)
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with one model, the others are served
            self._fail(VersionStatus(model.name, State.UNAVAILABLE, str(version), _reason(error)))
            self._observer.load_ended(model.name, seconds=perf_counter() - started_at, failed=True)
            return
        self._serve(loaded)
        self._observer.load_ended(model.name, seconds=perf_counter() - started_at, failed=False)

    def _serve(self, loaded: LoadedModel) -> None:
        served = ServedModel(loaded, self._observer.model(loaded.name, loaded.version))
        self._served[loaded.name] = {loaded.version: served}
        self._set_status(VersionStatus(loaded.name, State.READY, str(loaded.version)))
        logger.info("model %s version %d ready on %s", loaded.name, loaded.version, loaded.session.providers[0])

    def _fail(self, status: VersionStatus) -> None:
        self._set_status(status)
        logger.error("model %s %s is unavailable: %s", status.name, status.version or "(no version)", status.reason)

    def _set_status(self, status: VersionStatus) -> None:
        self._statuses[status.name] = status
        self._observer.state_changed(status)

    def _absent(self, name: str) -> ModelNotFound | ModelNotReady:
        status = self._statuses.get(name)
        if status is None:
            return ModelNotFound(name, self._statuses)
        return ModelNotReady(name, status.state, status.reason)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, AxonError) else f"{type(error).__name__}: {error}"
