"""The calls beside inference, in whichever protocol they come: what models are and how they do, loading and unloading."""

from collections.abc import Mapping
from typing import Any

import msgspec

from service.errors import ModelControlOff
from service.observability.statistics import ModelStatistics, Statistics
from service.processes.process import ModelChanges
from service.protocols.metadata import Metadata, model_metadata, properties
from service.protocols.model_configuration import load_override, model_configuration
from service.registry import Registry, State, VersionStatus


class Management:
    """Answers over a registry. Without `changes`, loading and unloading are refused.

    Models and versions are named as in `Registry.get`, and what is wrong with a name is raised as there.
    """

    def __init__(self, registry: Registry, statistics: Statistics, changes: ModelChanges | None) -> None:
        self._registry = registry
        self._statistics = statistics
        self._changes = changes

    def metadata(self, name: str, version: str | None) -> Metadata:
        """Return what a version takes and gives, which versions of the model serve beside it, and how it is run."""
        model = self._registry.get(name, version)
        metadata = model_metadata(model.name, self._registry.versions(model.name), model.signature)
        return msgspec.structs.replace(metadata, properties=properties(model))

    def configuration(self, name: str, version: str | None) -> dict[str, Any]:
        """Return the model configuration of a version."""
        return model_configuration(self._registry.get(name, version))

    def statistics(self, name: str, version: str | None) -> list[ModelStatistics]:
        """Return the statistics of a version; without one, those of all versions of the model that serve."""
        wanted = self._registry.get(name, version)
        numbers = self._registry.versions(name) if version is None else [wanted.version]
        return [self._statistics.of(name, number) for number in numbers]

    def all_statistics(self) -> list[ModelStatistics]:
        """Return the statistics of all that serves."""
        return [self._statistics.of(model.name, model.version) for model in self._registry.served()]

    def index(self, *, ready: bool) -> list[VersionStatus]:
        """List every version that is known, or only those that are `ready`."""
        return [status for status in self._registry.index() if status.state is State.READY or not ready]

    def require_control(self) -> ModelChanges:
        """Return who loads and unloads models by calls. Raises ModelControlOff: protocols ask before they read a body."""
        if self._changes is None:
            raise ModelControlOff
        return self._changes

    async def load(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Load a model as the parameters of the call ask. Raises ModelControlOff, InvalidRequest, or why it does not load."""
        changes = self.require_control()
        serving = self._registry.get(name) if self._registry.versions(name) else None
        await changes.load(name, load_override(parameters, name, serving))

    async def unload(self, name: str) -> None:
        """Take all versions of a model down. Raises ModelControlOff, or NotFound if none serves."""
        await self.require_control().unload(name)
