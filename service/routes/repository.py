"""`/v2/repository/...`: every model version that the server knows of, with its state; loading and unloading."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from service.errors import Forbidden, MalformedBody
from service.lifecycle import Lifecycle
from service.registry import Registry, State, VersionStatus

INDEX_PATH = "/v2/repository/index"
LOAD_PATH = "/v2/repository/models/{model_name:str}/load"
UNLOAD_PATH = "/v2/repository/models/{model_name:str}/unload"


class IndexRequest(msgspec.Struct, frozen=True):
    """Body of an index request; `ready` true lists only what can answer."""

    ready: bool = False


def handlers(registry: Registry, lifecycle: Lifecycle | None) -> list[HTTPRouteHandler]:
    """Return the handlers over a registry; without a lifecycle, loading and unloading are refused."""

    @post(INDEX_PATH, status_code=200)
    async def index(request: Request[Any, Any, Any]) -> list[VersionStatus]:
        wanted = _decode(await request.body())
        return [status for status in registry.index() if status.state is State.READY or not wanted.ready]

    @post(LOAD_PATH, status_code=200)
    async def load(model_name: FromPath[str]) -> dict[str, str | bool]:
        await _allowed(lifecycle).load(model_name)
        return {"name": model_name, "load": True}

    @post(UNLOAD_PATH, status_code=200)
    async def unload(model_name: FromPath[str]) -> dict[str, str | bool]:
        await _allowed(lifecycle).unload(model_name)
        return {"name": model_name, "unload": True}

    return [index, load, unload]


def _allowed(lifecycle: Lifecycle | None) -> Lifecycle:
    if lifecycle is None:
        raise Forbidden("Loading and unloading by calls is off. It needs --model-control explicit and, beyond loopback, API keys.")
    return lifecycle


def _decode(body: bytes) -> IndexRequest:
    try:
        return msgspec.json.decode(body or b"{}", type=IndexRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f'The body is not an index request: {error}. Send {{}} or {{"ready": true}}.') from error
