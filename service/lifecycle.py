"""From the repository on disk to the registry in memory: load, verify, warm up, READY, drain, unload.

A version that cannot be loaded never takes the place of one that serves, and a new one serves before the old one drains.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Protocol

from service.errors import AxonError, ModelNotFound
from service.inference.loading import load
from service.inference.memory import give_back_memory
from service.inference.served_model import LoadedModel, ModelObserver, ServedModel
from service.offload import offload
from service.registry import Registry, State, VersionStatus
from service.repository.configuration import ModelConfiguration
from service.repository.fingerprint import Fingerprint, fingerprint, is_settled
from service.repository.layout import ModelDirectory, find_models

logger = logging.getLogger("axon.lifecycle")


class LifecycleObserver(Protocol):
    """Is told of loads and states."""

    def model(self, name: str, version: int) -> ModelObserver:
        """Return the observer of a version that starts to serve."""

    def unloaded(self, name: str, version: int) -> None:
        """Report that a version has been taken down."""

    def state_changed(self, status: VersionStatus) -> None:
        """Report the state that a version has now."""

    def load_ended(self, name: str, *, seconds: float, failed: bool) -> None:
        """Report that the loading of a version has ended, well or not."""


class Lifecycle:
    """Keeps the registry in step with the repository. One change at a time; loading happens on a thread.

    `provider` is the execution provider of models whose model.toml names none. A version without a manifest is left alone until its
    files have been at rest for `settle_seconds`: it may still be on its way. `processes` is how many processes share the CPUs.
    """

    def __init__(
        self,
        registry: Registry,
        root: Path,
        *,
        model_name: str | None,
        provider: str,
        settle_seconds: float,
        observer: LifecycleObserver,
        processes: int = 1,
    ) -> None:
        self._registry = registry
        self._root = root
        self._model_name = model_name
        self._provider = provider
        self._settle_seconds = settle_seconds
        self._observer = observer
        self._processes = processes
        self._changing = asyncio.Lock()
        self._complete = False
        self._tried: dict[tuple[str, int], Fingerprint] = {}
        self._draining: set[asyncio.Task[None]] = set()

    async def load_all(self) -> None:
        """Bring every model of the repository to what it should be, and take down those whose directory is gone.

        A model that cannot be loaded is logged and kept in the index, and stops no other. A repository that cannot be read is
        logged and changes nothing.
        """
        try:
            models = await self._models()
        except (AxonError, OSError):
            logger.exception("cannot read the model repository %s", self._root)
            models = None
        async with self._changing:
            for model in (models or {}).values():
                await self._reconcile(model)
            if models is not None:
                self._remove_all_but(models)
            if not self._complete:
                self._complete = True
                self._registry.set_complete(complete=True)
                ready = {served.name for served in self._registry.served()}
                logger.info("%d of %d models ready in %s", len(ready), len(models or ()), self._root)

    async def load(self, name: str) -> None:
        """Bring one model to what it should be, trying again what has failed. Raises ModelNotFound, or the reason of a failure."""
        model = (await self._models()).get(name)
        if model is None:
            raise ModelNotFound(name, self._registry.names())
        async with self._changing:
            for number in model.versions:
                if number not in self._registry.versions(name):
                    self._tried.pop((name, number), None)
            failure = await self._reconcile(model)
        if failure is not None:
            raise failure

    async def unload(self, name: str) -> None:
        """Take all versions of a model down, after what they have accepted. Raises ModelNotFound."""
        async with self._changing:
            if not self._registry.versions(name):
                raise ModelNotFound(name, self._registry.names())
            for number in self._registry.versions(name):
                self._take_down(self._registry.withdraw(name, number), reason="unloaded")
                self._tried.pop((name, number), None)

    async def close(self, *, patience: float) -> None:
        """Take everything down, after what was accepted, or after `patience` seconds if that takes longer."""
        self._registry.set_complete(complete=False)
        for served in self._registry.served():
            self._take_down(self._registry.withdraw(served.name, served.version), reason="the server stops")
        if self._draining:
            _, late = await asyncio.wait(self._draining, timeout=patience)
            for task in late:
                task.cancel()

    async def _models(self) -> Mapping[str, ModelDirectory]:
        found = await offload(find_models, self._root, model_name=self._model_name)
        return {model.name: model for model in found}

    async def _reconcile(self, model: ModelDirectory) -> Exception | None:
        """Serve the versions that model.toml wants, as far as they can be loaded; return the last failure, if any."""
        try:
            configuration = ModelConfiguration.read(model.path)
        except AxonError as error:
            version = str(max(model.versions, default=""))
            self._fail(model.name, version, error)
            return error
        self._registry.configure(model.name, labels=configuration.labels, required=configuration.required)
        if not model.versions and not self._registry.versions(model.name):
            reason = f"{model.path} holds no version: a directory such as {model.path.name}/1 with a model.onnx in it"
            self._set_status(VersionStatus(model.name, State.UNAVAILABLE, reason=reason))
        failure = None
        wanted: list[int] = []
        settled = [number for number in model.versions if is_settled(model, number, seconds=self._settle_seconds)]
        for number in configuration.versions.candidates(settled):
            if len(wanted) == configuration.versions.count:
                break
            problem = await self._ensure(model, number, configuration)
            if number in self._registry.versions(model.name):
                wanted.append(number)
            failure = failure or problem
        if wanted:
            self._keep_only(model, wanted)
        return failure

    async def _ensure(self, model: ModelDirectory, number: int, configuration: ModelConfiguration) -> Exception | None:
        """Load a version unless it was tried already as it is now; return why it does not serve."""
        seen = await offload(fingerprint, model, number)
        key = (model.name, number)
        if self._tried.get(key) == seen:
            return None
        self._tried[key] = seen
        serving = number in self._registry.versions(model.name)
        if not serving:
            self._set_status(VersionStatus(model.name, State.LOADING, str(number)))
        started_at = perf_counter()
        failure: Exception | None = None
        try:
            loaded = await offload(load, model, number, configuration, provider=self._provider, processes=self._processes)
            self._serve(loaded)
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with one version, the others serve
            failure = error
            self._fail(model.name, str(number), error, serving=serving)
        self._observer.load_ended(model.name, seconds=perf_counter() - started_at, failed=failure is not None)
        return failure

    def _serve(self, loaded: LoadedModel) -> None:
        """Let a version answer requests, and drain what served under its number before."""
        before = self._registry.admit(ServedModel(loaded, self._observer.model(loaded.name, loaded.version)))
        self._set_status(VersionStatus(loaded.name, State.READY, str(loaded.version)))
        batching = f"batches of up to {loaded.configuration.batching.max_batch_size} rows" if loaded.batched else "no batching"
        logger.info("model %s version %d ready on %s, %s", loaded.name, loaded.version, loaded.session.providers[0], batching)
        if before is not None:
            self._drain(before)

    def _keep_only(self, model: ModelDirectory, wanted: list[int]) -> None:
        """Take down the versions that others replace."""
        for number in self._registry.versions(model.name):
            if number not in wanted:
                self._tried.pop((model.name, number), None)
                self._take_down(self._registry.withdraw(model.name, number), reason=f"replaced by version {wanted[0]}")
                if number not in model.versions:
                    self._registry.forget_version(model.name, str(number))

    def _remove_all_but(self, models: Mapping[str, ModelDirectory]) -> None:
        for name in self._registry.names():
            if name in models:
                continue
            for number in self._registry.versions(name):
                self._tried.pop((name, number), None)
                self._take_down(self._registry.withdraw(name, number), reason="its directory is gone")
            self._registry.forget(name)

    def _take_down(self, served: ServedModel, *, reason: str) -> None:
        logger.info("model %s version %d unloads: %s", served.name, served.version, reason)
        self._set_status(VersionStatus(served.name, State.UNLOADING, str(served.version)))
        self._drain(served, then=VersionStatus(served.name, State.UNAVAILABLE, str(served.version), reason))

    def _drain(self, served: ServedModel, *, then: VersionStatus | None = None) -> None:
        """Let a version that gets no more requests finish what it has, in the background, and free its memory."""
        task = asyncio.create_task(self._drained(served, then))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drained(self, served: ServedModel, then: VersionStatus | None) -> None:
        await served.close()
        if served.version not in self._registry.versions(served.name):
            self._observer.unloaded(served.name, served.version)
            if then is not None and then.name in self._registry.names():
                self._set_status(then)
        del served
        await offload(give_back_memory)

    def _fail(self, name: str, version: str, error: Exception, *, serving: bool = False) -> None:
        reason = str(error) if isinstance(error, AxonError) else f"{type(error).__name__}: {error}"
        logger.error("model %s %s is unavailable: %s", name, version or "(no version)", reason)
        if not serving:
            self._set_status(VersionStatus(name, State.UNAVAILABLE, version, reason))

    def _set_status(self, status: VersionStatus) -> None:
        self._registry.set_status(status)
        self._observer.state_changed(status)
