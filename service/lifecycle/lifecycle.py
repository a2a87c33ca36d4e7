"""From the repository on disk to the registry in memory: load, verify, warm up, READY, drain, unload.

A version that cannot be loaded never takes the place of one that serves, and a new one serves before the old one drains.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import msgspec

from service.errors import AxonError, ConfigurationError, InvalidRequest, ModelNotFound, NotFound, PackageError
from service.inference.loading import Loader
from service.inference.thread_plan import ThreadPlan
from service.lifecycle.transitions import LifecycleObserver, Transitions
from service.offload import offload
from service.registry import Registry, State
from service.repository.configuration import Latest, ModelConfiguration
from service.repository.fingerprint import Fingerprint, Settling, fingerprint
from service.repository.layout import ModelDirectory, find_models
from service.repository.source import Key, Source

logger = logging.getLogger("axon.lifecycle")
_SHOWN: Final = 20  # versions in an error


@dataclass(slots=True)
class _Attempt:
    """How a version and its configuration looked when it was loaded, and why that failed, if it did."""

    seen: Fingerprint
    configuration: ModelConfiguration
    failure: Exception | None = field(default=None, compare=False)


class Lifecycle:
    """Keeps the registry in step with the repository. One change at a time; loading happens on a thread.

    `provider` is the execution provider of models whose model.toml names none. A version without a manifest is left alone until its
    files have been at rest for `settle_seconds`: it may still be on its way. `processes` is how many processes share the CPUs. In
    `cache_directory` optimised graphs are kept, if it is given.
    """

    def __init__(
        self,
        registry: Registry,
        source: Source,
        *,
        model_name: str | None,
        provider: str,
        settle_seconds: float,
        observer: LifecycleObserver,
        processes: int = 1,
        cache_directory: Path | None = None,
    ) -> None:
        self._registry = registry
        self._source = source
        self._model_name = model_name
        self._loader = Loader(provider=provider, processes=processes, cache_directory=cache_directory)
        self._settling = Settling(seconds=settle_seconds)
        self._observer = observer
        self._transitions = Transitions(registry, observer)
        self._changing = asyncio.Lock()
        self._loading: set[asyncio.Task[Exception | None]] = set()
        self._complete = False
        self._problem = ""  # why the repository could not be read when it was looked at last
        self._tried: dict[Key, _Attempt] = {}
        self._overrides: dict[str, Mapping[str, Any]] = {}

    @property
    def threads(self) -> ThreadPlan:
        """How the CPUs are shared out among the models."""
        return self._loader.plan

    async def load_all(self) -> None:
        """Bring every model of the repository to what it should be, and take down those whose directory is gone.

        A model that cannot be loaded is logged and kept in the index, and stops no other. A repository that cannot be read is
        logged and changes nothing.
        """
        failed = self._failed()
        models = await self._readable_models()
        async with self._changing:
            self._loader.plan.expect(len(models or ()))
            for model in (models or {}).values():
                try:
                    await self._reconcile(model)
                except Exception:
                    logger.exception("cannot look after model %s", model.name)
            if models is not None:
                self._remove_all_but(models)
        if self._failed() - failed and await self._refresh():
            await self.load_all()  # there are others in place of those that have failed
        elif not self._complete:
            self._complete = True
            self._registry.set_complete(complete=True)
            ready = {served.name for served in self._registry.served()}
            logger.info("%d of %d models ready in %s", len(ready), len(models or ()), self._source.root)

    async def load(self, name: str, override: Mapping[str, Any] | None = None) -> None:
        """Bring one model to what it should be, trying again what has failed. Raises ModelNotFound, or the reason of a failure.

        What `override` says in the words of model.toml goes before the file, until the next load or unload. What has begun is
        brought to its end if the caller leaves: a version that nobody brings in would load for ever.
        """
        model = (await self._models()).get(name)
        if model is None:
            raise ModelNotFound(name, self._registry.names())
        if override:
            _check(override, model)
        loading = asyncio.create_task(self._load(model, override or {}))
        self._loading.add(loading)
        loading.add_done_callback(self._loading.discard)
        failure = await asyncio.shield(loading)
        if failure is not None:
            raise failure

    async def unload(self, name: str) -> None:
        """Take all versions of a model down, after what they have accepted. Raises NotFound if none serves."""
        async with self._changing:
            if name not in self._registry.names():
                raise ModelNotFound(name, self._registry.names())
            if not self._registry.versions(name):
                raise NotFound(f"Model '{name}' is not loaded, so there is nothing to unload.")
            self._take_down_all(name, reason="unloaded")
            self._registry.set_unloaded(name)
            self._overrides.pop(name, None)

    async def close(self, *, patience: float) -> None:
        """Take everything down, after what was accepted, or after `patience` seconds if that takes longer. What loads is left."""
        self._registry.set_complete(complete=False)
        for loading in self._loading:
            loading.cancel()  # else it would serve when all the others are down
        await asyncio.gather(*self._loading, return_exceptions=True)
        for name in self._registry.names():
            self._take_down_all(name, reason="the server stops")
        await self._transitions.finish(patience=patience)

    async def _load(self, model: ModelDirectory, override: Mapping[str, Any]) -> Exception | None:
        async with self._changing:
            self._overrides[model.name] = override
            for number in model.versions:
                if (before := self._tried.get((model.name, number))) and before.failure:
                    del self._tried[model.name, number]
            return await self._reconcile(model)

    async def _refresh(self) -> bool:
        """Have the source bring what is new; return whether there was anything."""
        serving = {(served.name, served.version) for served in self._registry.served()}
        return await offload(self._source.refresh, serving=serving, failed=self._failed())

    def _failed(self) -> set[Key]:
        return {key for key, attempt in self._tried.items() if attempt.failure is not None}

    async def _models(self) -> Mapping[str, ModelDirectory]:
        await self._refresh()
        found = await offload(find_models, self._source.root, model_name=self._model_name)
        return {model.name: model for model in found}

    async def _readable_models(self) -> Mapping[str, ModelDirectory] | None:
        """Return the models of the repository, None if it cannot be read; the log has each reason once, however often one looks."""
        try:
            models = await self._models()
        except (AxonError, OSError) as error:
            if str(error) != self._problem:
                self._problem = str(error)
                logger.error("cannot read the model repository %s: %s", self._source.root, error)  # noqa: TRY400 -- that says it all
            return None
        if self._problem:
            self._problem = ""
            logger.info("the model repository %s can be read again", self._source.root)
        return models

    async def _reconcile(self, model: ModelDirectory) -> Exception | None:
        """Serve the versions that model.toml wants, as far as they can be loaded; return the last failure, if any."""
        try:
            configuration = ModelConfiguration.read(model.path, self._overrides.get(model.name, {}))
        except AxonError as error:
            self._observer.load_ended(model.name, seconds=0.0, failed=True)
            affected = [str(number) for number in self._registry.versions(model.name) or list(model.versions)[-1:]]
            for version in affected or [""]:
                self._transitions.fail(model.name, version, error)
            return error
        self._registry.configure(model.name, labels=configuration.labels, required=configuration.required)
        failure: Exception | None = None
        candidates = configuration.versions.candidates(model.versions)
        serving = self._registry.versions(model.name)
        if not candidates and (model.versions or not serving):
            missing = f"{model.path} holds no version: a directory such as {model.path.name}/1 with a model.onnx in it"
            if model.versions:
                missing = f"{model.path} holds none of the versions that its model.toml names; it has {_listed(model.versions)}"
            failure = PackageError(missing)
            for version in map(str, serving or ("",)):
                self._transitions.fail(model.name, version, failure)
        wanted: list[int] = []
        for number in candidates:
            if len(wanted) == configuration.versions.count:
                break
            problem = await self._ensure(model, number, configuration)
            if number in self._registry.versions(model.name):
                wanted.append(number)
            failure = failure or problem
        if wanted:
            self._keep_only(model, wanted)
        self._forget_all_but(model)
        return failure

    async def _ensure(self, model: ModelDirectory, number: int, configuration: ModelConfiguration) -> Exception | None:
        """Load a version that is whole, unless it was tried already as it is now; return why it does not serve."""
        key = (model.name, number)
        seen = await offload(fingerprint, model.versions[number])
        if not self._settling.is_over(key, seen):
            return None
        attempt = _Attempt(seen, _as_loaded(configuration))
        if (before := self._tried.get(key)) == attempt:
            if before.failure is None:
                self._transitions.recover(model.name, str(number))
            return before.failure
        self._tried[key] = attempt
        self._transitions.begin(model.name, number)
        started_at = perf_counter()
        try:
            loaded = await offload(self._loader.load, model, number, configuration)
            self._transitions.serve(loaded)
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with one version, the others serve
            attempt.failure = error.with_traceback(None)
            self._transitions.fail(model.name, str(number), error)
        self._observer.load_ended(model.name, seconds=perf_counter() - started_at, failed=attempt.failure is not None)
        return attempt.failure

    def _keep_only(self, model: ModelDirectory, wanted: list[int]) -> None:
        """Take down the versions that others replace."""
        for number in self._registry.versions(model.name):
            if number not in wanted:
                self._tried.pop((model.name, number), None)
                self._transitions.take_down(model.name, number, reason=f"replaced by version {wanted[0]}")

    def _take_down_all(self, name: str, *, reason: str) -> None:
        for number in self._registry.versions(name):
            self._tried.pop((name, number), None)
            self._transitions.take_down(name, number, reason=reason)

    def _remove_all_but(self, models: Mapping[str, ModelDirectory]) -> None:
        for name in self._registry.names():
            if name not in models:
                self._take_down_all(name, reason="its directory is gone")
                self._registry.forget(name)
                self._observer.forgotten(name, "")
                for key in [key for key in self._tried if key[0] == name]:
                    del self._tried[key]

    def _forget_all_but(self, model: ModelDirectory) -> None:
        """Drop what is known of versions that are no longer in the repository and do not serve."""
        known = {*map(str, model.versions), *map(str, self._registry.versions(model.name)), ""}
        for status in self._registry.statuses(model.name):
            if status.version not in known and status.state is State.UNAVAILABLE:
                self._registry.forget_version(model.name, status.version)
                self._observer.forgotten(model.name, status.version)
                self._tried.pop((model.name, int(status.version)), None)


def _check(override: Mapping[str, Any], model: ModelDirectory) -> None:
    """Raise InvalidRequest if what a call sets cannot be, before anything is changed by it."""
    ModelConfiguration.read(model.path)
    try:
        ModelConfiguration.read(model.path, override)
    except ConfigurationError as error:
        raise InvalidRequest(str(error)) from error


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, list(versions)[-_SHOWN:]))


def _as_loaded(configuration: ModelConfiguration) -> ModelConfiguration:
    """Return what of a configuration matters to a version that is loaded: the rest changes without loading it again."""
    return msgspec.structs.replace(configuration, labels={}, versions=Latest(), required=False)
