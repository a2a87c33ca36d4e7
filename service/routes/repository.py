"""`/v2/repository/...`: every model version that the server knows of, with its state; loading and unloading."""

from typing import Any, TypeVar

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from service.errors import MalformedBody, ModelControlOff
from service.processes.process import ModelChanges
from service.protocols.model_configuration import load_override
from service.registry import Registry, State, VersionStatus

PATH = "/v2/repository"
INDEX_PATH = PATH + "/index"
LOAD_PATH = PATH + "/models/{model_name:str}/load"
UNLOAD_PATH = PATH + "/models/{model_name:str}/unload"


Kind = TypeVar("Kind")


class IndexRequest(msgspec.Struct, frozen=True):
    """Body of an index request; `ready` true lists only what can answer."""

    ready: bool = False


class LoadRequest(msgspec.Struct, frozen=True):
    """Body of a load or unload request, as Triton's clients send it."""

    parameters: dict[str, str | bool | int | float] = {}


def handlers(registry: Registry, changes: ModelChanges | None) -> list[HTTPRouteHandler]:
    """Return the handlers over a registry; without `changes`, loading and unloading are refused."""

    @post(INDEX_PATH, status_code=200)
    async def index(request: Request[Any, Any, Any]) -> list[VersionStatus]:
        wanted = _decode(await request.body(), IndexRequest, '{"ready": true}')
        return [status for status in registry.index() if status.state is State.READY or not wanted.ready]

    @post(LOAD_PATH, status_code=200)
    async def load(model_name: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str | bool]:
        allowed = _allowed(changes)
        parameters = _decode(await request.body(), LoadRequest, '{"parameters": {"config": "..."}}').parameters
        serving = registry.get(model_name) if registry.versions(model_name) else None
        await allowed.load(model_name, load_override(parameters, model_name, serving))
        return {"name": model_name, "load": True}

    @post(UNLOAD_PATH, status_code=200)
    async def unload(model_name: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str | bool]:
        allowed = _allowed(changes)
        _decode(await request.body(), LoadRequest, '{"parameters": {"unload_dependents": false}}')  # no model depends on another
        await allowed.unload(model_name)
        return {"name": model_name, "unload": True}

    return [index, load, unload]


def _allowed(changes: ModelChanges | None) -> ModelChanges:
    if changes is None:
        raise ModelControlOff
    return changes


def _decode(body: bytes, kind: type[Kind], example: str) -> Kind:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f"The body is not what this call takes: {error}. Send {{}} or {example}.") from error
