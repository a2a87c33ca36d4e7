"""The models in memory: which versions there are, in which state, and which one answers a request."""

import re
from collections.abc import Callable
from enum import StrEnum

import msgspec

from service.errors import ModelNotFound, ModelNotReady, ModelUnloaded, VersionNotFound
from service.inference.served_model import ServedModel

_NUMBER = re.compile(r"[0-9]{1,18}")


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


class _Model:
    """What is known of one model: its versions that serve, the status of all, the labels, and whether readiness needs it."""

    def __init__(self) -> None:
        self.serving: dict[int, ServedModel] = {}
        self.newest: ServedModel | None = None
        self.statuses: dict[str, VersionStatus] = {}
        self.labels: dict[str, int] = {}
        self.required = False
        self.unloaded = False


class Registry:
    """Finds the model version that a request means. Belongs to the event loop; lifecycle/ decides what is in it."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._complete = False
        self._held = False
        self._subscribers: list[Callable[[], None]] = []

    @property
    def ready(self) -> bool:
        """Whether the start is over, some model serves or was taken down by a call, and every model serves that readiness needs.

        While the server is held it is not ready.
        """
        models = self._models.values()
        return (
            self._complete
            and not self._held
            and any(model.serving or model.unloaded for model in models)
            and all(model.serving for model in models if model.required)
        )

    def get(self, name: str, version: str | None = None, label: str | None = None) -> ServedModel:
        """Return the model version that a request means: the one given, the one labelled, else the newest that serves.

        Raises ModelNotFound, ModelUnloaded, VersionNotFound or ModelNotReady.
        """
        model = self._models.get(name)
        if model is None:
            raise ModelNotFound(name, self._models)
        if model.newest is None:
            raise ModelUnloaded(name) if model.unloaded else self._not_ready(name, model)
        if label is not None:
            number = model.labels.get(label)
            if number not in model.serving:
                raise VersionNotFound(name, label, model.serving)
            return model.serving[number]
        if version is None:
            return model.newest
        number = int(version) if _NUMBER.fullmatch(version) else None
        if number not in model.serving:
            status = model.statuses.get(str(number))
            if status is not None and status.state is State.LOADING:
                raise ModelNotReady(name, status.state, status.reason, version=status.version)
            raise VersionNotFound(name, version, model.serving)
        return model.serving[number]

    def index(self) -> list[VersionStatus]:
        """List every model version that is known, and models without any."""
        return [status for _, model in sorted(self._models.items()) for status in model.statuses.values()]

    def statuses(self, name: str) -> list[VersionStatus]:
        """List what is known of the versions of a model."""
        return list(self._models[name].statuses.values()) if name in self._models else []

    def served(self) -> list[ServedModel]:
        """List the model versions that serve."""
        return [served for model in self._models.values() for served in model.serving.values()]

    def ready_names(self) -> list[str]:
        """List the models of which a version serves, by name."""
        return sorted(name for name, model in self._models.items() if model.serving)

    def versions(self, name: str) -> list[int]:
        """List the versions of a model that serve, oldest first."""
        return sorted(self._models[name].serving) if name in self._models else []

    def labels(self, name: str) -> dict[str, int]:
        """Return the labels of a model whose versions serve."""
        model = self._models[name]
        return {label: number for label, number in model.labels.items() if number in model.serving}

    def names(self) -> list[str]:
        """List the models that are known, serving or not."""
        return list(self._models)

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Call `notify` after every change, until the function that this returns is called."""
        self._subscribers.append(notify)
        return lambda: self._subscribers.remove(notify)

    def set_complete(self, *, complete: bool) -> None:
        """Say whether the models of the start are all in; before that, and while shutting down, the server is not ready."""
        self._complete = complete
        self._changed()

    def hold(self, *, held: bool) -> None:
        """Say whether the server is not to be used though its models may serve: others still load, or the end has begun."""
        self._held = held
        self._changed()

    def set_status(self, status: VersionStatus) -> None:
        """Note the state of a version, making the model known."""
        statuses = self._models.setdefault(status.name, _Model()).statuses
        if status.version:
            statuses.pop("", None)
        statuses[status.version] = status
        self._changed()

    def configure(self, name: str, *, labels: dict[str, int], required: bool) -> None:
        """Set what model.toml says of a model."""
        model = self._models.setdefault(name, _Model())
        model.labels = labels
        model.required = required
        self._changed()

    def admit(self, served: ServedModel) -> ServedModel | None:
        """Let a version answer requests; return what served under its number before."""
        model = self._models.setdefault(served.name, _Model())
        before = model.serving.get(served.version)
        model.serving[served.version] = served
        model.newest = model.serving[max(model.serving)]
        model.unloaded = False
        self._changed()
        return before

    def withdraw(self, name: str, version: int) -> ServedModel:
        """Take a version out of the way of requests and return it; the next older one takes its place as the newest."""
        model = self._models[name]
        served = model.serving.pop(version)
        model.newest = model.serving[max(model.serving)] if model.serving else None
        self._changed()
        return served

    def set_unloaded(self, name: str) -> None:
        """Note that a model was taken down by a call: it is as if unknown, and no reason not to be ready."""
        self._models[name].unloaded = True
        self._changed()

    def forget_version(self, name: str, version: str) -> None:
        """Drop the status of a version that is gone."""
        self._models[name].statuses.pop(version, None)

    def forget(self, name: str) -> None:
        """Drop a model that is gone; none of its versions may serve."""
        del self._models[name]
        self._changed()

    def _changed(self) -> None:
        for notify in self._subscribers:
            notify()

    @staticmethod
    def _not_ready(name: str, model: _Model) -> ModelNotReady:
        status = max(model.statuses.values(), key=lambda status: int(status.version or 0), default=None)
        return ModelNotReady(name, status.state if status else State.UNAVAILABLE, status.reason if status else "")
