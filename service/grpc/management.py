"""The calls beside inference: health, metadata, configuration, statistics, and the repository."""

import grpc

from service import __version__
from service.errors import AxonError, InvalidRequest, ModelControlOff, shown
from service.grpc import messages
from service.grpc.calls import unary
from service.grpc.messages import Message
from service.lifecycle import Lifecycle
from service.protocols import open_inference
from service.registry import Registry, State


class Management:
    """The handlers over a registry; without a lifecycle, loading and unloading are refused."""

    def __init__(self, registry: Registry, lifecycle: Lifecycle | None) -> None:
        self._registry = registry
        self._lifecycle = lifecycle

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Return them by their names."""
        actions = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
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
        return _ServerMetadata(**open_inference.server_metadata(__version__))

    async def _model_metadata(self, request: Message) -> Message:
        model = self._registry.get(request.name, request.version or None)
        metadata = open_inference.model_metadata(model.name, self._registry.versions(model.name), model.signature)
        response = _ModelMetadata(name=metadata.name, versions=metadata.versions, platform=metadata.platform)
        for tensors, described in ((response.inputs, metadata.inputs), (response.outputs, metadata.outputs)):
            for tensor in described:
                tensors.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        return response

    async def _index(self, request: Message) -> Message:
        _refuse_repository(request)
        response = _Index()
        for entry in self._registry.index():
            if entry.state is State.READY or not request.ready:
                response.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
        return response

    async def _load(self, request: Message) -> Message:
        lifecycle = self._allowed()
        _refuse_repository(request)
        for key in request.parameters:
            raise InvalidRequest(
                f"The load parameter '{shown(key)}' is not supported. Change model.toml, then load without parameters."
            )
        await lifecycle.load(request.model_name)
        return _Load()

    async def _unload(self, request: Message) -> Message:
        lifecycle = self._allowed()
        _refuse_repository(request)
        await lifecycle.unload(request.model_name)
        return _Unload()

    def _allowed(self) -> Lifecycle:
        if self._lifecycle is None:
            raise ModelControlOff
        return self._lifecycle


def _refuse_repository(request: Message) -> None:
    if request.repository_name:
        raise InvalidRequest("This server has one repository, which has no name. Leave repository_name empty.")


_ServerLive = messages.message_class("ServerLiveResponse")
_ServerReady = messages.message_class("ServerReadyResponse")
_ModelReady = messages.message_class("ModelReadyResponse")
_ServerMetadata = messages.message_class("ServerMetadataResponse")
_ModelMetadata = messages.message_class("ModelMetadataResponse")
_Index = messages.message_class("RepositoryIndexResponse")
_Load = messages.message_class("RepositoryModelLoadResponse")
_Unload = messages.message_class("RepositoryModelUnloadResponse")
