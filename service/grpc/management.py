"""The calls beside inference: health, metadata, configuration, statistics, and the repository."""

from typing import Any

import grpc
import msgspec
from google.protobuf.json_format import ParseDict

from service import __version__
from service.errors import AxonError, InvalidRequest
from service.grpc import messages
from service.grpc.calls import unary
from service.grpc.messages import Message
from service.management import Management
from service.protocols.metadata import server_metadata
from service.registry import Registry


class ManagementCalls:
    """The handlers over a registry."""

    def __init__(self, registry: Registry, management: Management) -> None:
        self._registry = registry
        self._management = management

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Return them by their names."""
        actions = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics_of,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        return {name: unary(f"{name}Request", action) for name, action in actions.items()}

    async def _server_live(self, _request: Message) -> Message:
        return _ServerLive(live=True)

    async def _server_ready(self, _request: Message) -> Message:
        return _ServerReady(ready=self._registry.ready)

    async def _model_ready(self, request: Message) -> Message:
        """Answer no, not an error, for a model that is not there: so does Triton, and its clients ask in a loop."""
        try:
            self._registry.get(request.name, request.version or None)
        except AxonError:
            return _ModelReady(ready=False)
        return _ModelReady(ready=True)

    async def _server_metadata(self, _request: Message) -> Message:
        return _ServerMetadata(**server_metadata(__version__))

    async def _model_metadata(self, request: Message) -> Message:
        metadata = self._management.metadata(request.name, request.version or None)
        response = _ModelMetadata(name=metadata.name, versions=metadata.versions, platform=metadata.platform)
        for tensors, described in ((response.inputs, metadata.inputs), (response.outputs, metadata.outputs)):
            for tensor in described:
                tensors.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        return response

    async def _config(self, request: Message) -> Message:
        return _Config(config=_filled(_ModelConfig(), self._management.configuration(request.name, request.version or None)))

    async def _statistics_of(self, request: Message) -> Message:
        """Give the statistics of one version, of all versions of a model that serve, or of all models."""
        asked = self._management
        found = asked.statistics(request.name, request.version or None) if request.name else asked.all_statistics()
        return _filled(_Statistics(), {"model_stats": found})

    async def _index(self, request: Message) -> Message:
        _refuse_repository(request)
        response = _Index()
        for entry in self._management.index(ready=request.ready):
            response.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
        return response

    async def _load(self, request: Message) -> Message:
        self._management.require_control()
        _refuse_repository(request)
        await self._management.load(request.model_name, _values(request.parameters))
        return _Load()

    async def _unload(self, request: Message) -> Message:
        self._management.require_control()
        _refuse_repository(request)
        await self._management.unload(request.model_name)
        return _Unload()


def _refuse_repository(request: Message) -> None:
    if request.repository_name:
        raise InvalidRequest("This server has one repository, which has no name. Leave repository_name empty.")


def _filled(message: Message, content: dict[str, Any]) -> Message:
    """Fill a message from what REST gives as JSON: the fields have the same names."""
    return ParseDict(msgspec.to_builtins(content), message)


def _values(parameters: Any) -> dict[str, Any]:  # noqa: ANN401 -- a map field
    return {key: getattr(value, value.WhichOneof("parameter_choice") or "string_param") for key, value in parameters.items()}


_ServerLive = messages.message_class("ServerLiveResponse")
_ServerReady = messages.message_class("ServerReadyResponse")
_ModelReady = messages.message_class("ModelReadyResponse")
_ServerMetadata = messages.message_class("ServerMetadataResponse")
_ModelMetadata = messages.message_class("ModelMetadataResponse")
_Index = messages.message_class("RepositoryIndexResponse")
_Load = messages.message_class("RepositoryModelLoadResponse")
_ModelConfig = messages.message_class("ModelConfig")
_Config = messages.message_class("ModelConfigResponse")
_Statistics = messages.message_class("ModelStatisticsResponse")
_Unload = messages.message_class("RepositoryModelUnloadResponse")
