"""`/v2/repository/...`: every model version that the server knows of, with its state; loading and unloading."""

from typing import Any, TypeVar

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from service.errors import InvalidRequest, MalformedBody, ModelControlOff, shown
from service.lifecycle import Lifecycle
from service.protocols.model_configuration import configuration_override, model_configuration
from service.registry import Registry, State, VersionStatus

INDEX_PATH = "/v2/repository/index"
LOAD_PATH = "/v2/repository/models/{model_name:str}/load"
UNLOAD_PATH = "/v2/repository/models/{model_name:str}/unload"


Kind = TypeVar("Kind")


class IndexRequest(msgspec.Struct, frozen=True):
    """Body of an index request; `ready` true lists only what can answer."""

    ready: bool = False


class LoadRequest(msgspec.Struct, frozen=True):
    """Body of a load or unload request, as Triton's clients send it."""

    parameters: dict[str, str | bool | int | float] = {}


def handlers(registry: Registry, lifecycle: Lifecycle | None) -> list[HTTPRouteHandler]:
    """Return the handlers over a registry; without a lifecycle, loading and unloading are refused."""

    @post(INDEX_PATH, status_code=200)
    async def index(request: Request[Any, Any, Any]) -> list[VersionStatus]:
        wanted = _decode(await request.body(), IndexRequest, '{"ready": true}')
        return [status for status in registry.index() if status.state is State.READY or not wanted.ready]

    @post(LOAD_PATH, status_code=200)
    async def load(model_name: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str | bool]:
        allowed = _allowed(lifecycle)
        parameters = _decode(await request.body(), LoadRequest, '{"parameters": {"config": "..."}}').parameters
        await allowed.load(model_name, _override(parameters, model_name, registry))
        return {"name": model_name, "load": True}

    @post(UNLOAD_PATH, status_code=200)
    async def unload(model_name: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str | bool]:
        allowed = _allowed(lifecycle)
        _decode(await request.body(), LoadRequest, '{"parameters": {"unload_dependents": false}}')  # no model depends on another
        await allowed.unload(model_name)
        return {"name": model_name, "unload": True}

    return [index, load, unload]


def _allowed(lifecycle: Lifecycle | None) -> Lifecycle:
    if lifecycle is None:
        raise ModelControlOff
    return lifecycle


def _override(parameters: dict[str, str | bool | int | float], name: str, registry: Registry) -> dict[str, Any] | None:
    """Return what a load call sets, in the words of model.toml."""
    for key in parameters:
        if key.startswith("file:"):
            raise InvalidRequest(f"'{shown(key)}': this server takes no files. Put them into the model repository.")
        if key != "config":
            raise InvalidRequest(f"The parameter '{shown(key)}' is not known. A load call takes 'config'.")
    if "config" not in parameters:
        return None
    text = parameters["config"]
    if not isinstance(text, str):
        raise InvalidRequest("The parameter 'config' must be a string, the JSON of a model configuration.")
    serving = registry.versions(name)
    current = model_configuration(registry.get(name)) if serving else {}
    return configuration_override(text, name, current)


def _decode(body: bytes, kind: type[Kind], example: str) -> Kind:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f"The body is not what this call takes: {error}. Send {{}} or {example}.") from error
