"""A model version's way from one state to the next: the registry, the log and the metrics are told together."""

import asyncio
import logging
from typing import Protocol

from service.errors import AxonError
from service.inference.memory import give_back_memory
from service.inference.providers import described
from service.inference.served_model import LoadedModel, ModelObserver, ServedModel
from service.offload import offload
from service.registry import Registry, State, VersionStatus

logger = logging.getLogger("axon.lifecycle")


class LifecycleObserver(Protocol):
    """Is told of loads and states."""

    def model(self, name: str, version: int) -> ModelObserver:
        """Return the observer of a version that starts to serve."""

    def unloaded(self, name: str, version: int) -> None:
        """Report that a version has been taken down."""

    def forgotten(self, name: str, version: str) -> None:
        """Report that a version that does not serve is gone from the repository; with an empty `version`, the whole model."""

    def state_changed(self, status: VersionStatus) -> None:
        """Report the state that a version has now."""

    def load_ended(self, name: str, *, seconds: float, failed: bool) -> None:
        """Report that the loading of a version has ended, well or not."""


class Transitions:
    """Lets versions serve, fail and drain. Belongs to the event loop."""

    def __init__(self, registry: Registry, observer: LifecycleObserver) -> None:
        self._registry = registry
        self._observer = observer
        self._draining: set[asyncio.Task[None]] = set()

    def begin(self, name: str, version: int) -> None:
        """Note that a version loads, unless one of its number serves meanwhile."""
        if not self._serves(name, str(version)):
            self._set_status(VersionStatus(name, State.LOADING, str(version)))

    def serve(self, loaded: LoadedModel) -> None:
        """Let a version answer requests, and drain what served under its number before."""
        before = self._registry.admit(ServedModel(loaded, self._observer.model(loaded.name, loaded.version)))
        self._set_status(VersionStatus(loaded.name, State.READY, str(loaded.version)))
        batching = f"requests merged up to {loaded.merged_rows} rows" if loaded.batched else "no batching"
        session = loaded.session
        on = f"{session.providers[0]} (nodes: {described(session.nodes)})" if len(session.nodes) > 1 else session.providers[0]
        logger.info(
            "model %s version %d ready on %s, %s, %s",
            *(loaded.name, loaded.version, on, batching, loaded.grant),
            extra=_facts("ready", loaded.name, str(loaded.version)),
        )
        if before is not None:
            self._drain(before)

    def fail(self, name: str, version: str, error: Exception) -> None:
        """Say in log and index why a version is not as it should be; one that serves goes on serving as it is.

        An empty `version` means the model as a whole.
        """
        reason = str(error) if isinstance(error, AxonError | OSError) else f"{type(error).__name__}: {error}"
        serves = self._serves(name, version)
        status = VersionStatus(name, State.READY if serves else State.UNAVAILABLE, version, reason)
        if status in self._registry.statuses(name):
            return  # said before
        known = version or "(no version)"
        if serves:
            text = "model %s %s serves on as it was, but cannot be loaded anew: %s"
            logger.error(text, name, known, reason, extra=_facts("not_loaded_anew", name, version))
        else:
            logger.error("model %s %s is unavailable: %s", name, known, reason, extra=_facts("unavailable", name, version))
        self._set_status(status)

    def recover(self, name: str, version: str) -> None:
        """Take back what `fail` said of a version that serves."""
        status = VersionStatus(name, State.READY, version)
        if self._serves(name, version) and status not in self._registry.statuses(name):
            logger.info("model %s %s: what was wrong is mended", name, version, extra=_facts("mended", name, version))
            self._set_status(status)

    def take_down(self, name: str, version: int, *, reason: str) -> None:
        """Give a version no more requests, let it finish those that it has, in the background, and free its memory."""
        served = self._registry.withdraw(name, version)
        logger.info("model %s version %d unloads: %s", name, version, reason, extra=_facts("unloads", name, str(version)))
        self._set_status(VersionStatus(name, State.UNLOADING, str(version)))
        self._drain(served, then=VersionStatus(name, State.UNAVAILABLE, str(version), reason))

    async def finish(self, *, patience: float) -> None:
        """Wait until everything that was taken down has drained, `patience` seconds at the most."""
        if self._draining:
            _, late = await asyncio.wait(self._draining, timeout=patience)
            for task in late:
                task.cancel()

    def _serves(self, name: str, version: str) -> bool:
        return version in map(str, self._registry.versions(name))

    def _drain(self, served: ServedModel, *, then: VersionStatus | None = None) -> None:
        task = asyncio.create_task(self._drained(served, then))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drained(self, served: ServedModel, then: VersionStatus | None) -> None:
        await served.close()
        if not self._serves(served.name, str(served.version)):
            self._observer.unloaded(served.name, served.version)
            if then is not None and then.name in self._registry.names():
                self._set_status(then)
        del served
        await offload(give_back_memory)

    def _set_status(self, status: VersionStatus) -> None:
        self._registry.set_status(status)
        self._observer.state_changed(status)


def _facts(event: str, name: str, version: str) -> dict[str, object]:
    """Return what a line of the log says as fields of its own."""
    return {"facts": {"event": event, "model": name, "version": version}}
