"""`/v2/repository/...`: every model version that the server knows of, with its state; loading and unloading."""

from typing import Any, TypeVar

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from service.errors import MalformedBody
from service.management import Management
from service.registry import VersionStatus

PATH = "/v2/repository"
INDEX_PATH = PATH + "/index"
LOAD_PATH = PATH + "/models/{model_name:str}/load"
UNLOAD_PATH = PATH + "/models/{model_name:str}/unload"


Kind = TypeVar("Kind")


class IndexRequest(msgspec.Struct, frozen=True):
    """Body of an index request; `ready` true lists only what can answer, null is as good as absent."""

    ready: bool | None = False


class LoadRequest(msgspec.Struct, frozen=True):
    """Body of a load or unload request, as Triton's clients send it; null is as good as absent."""

    parameters: dict[str, str | bool | int | float] | None = None


def handlers(management: Management) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @post(INDEX_PATH, status_code=200)
    async def index(request: Request[Any, Any, Any]) -> list[VersionStatus]:
        wanted = _decode(await request.body(), IndexRequest, '{"ready": true}')
        return management.index(ready=bool(wanted.ready))

    @post(LOAD_PATH, status_code=200)
    async def load(model_name: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str | bool]:
        management.require_control()
        parameters = _decode(await request.body(), LoadRequest, '{"parameters": {"config": "..."}}').parameters
        await management.load(model_name, parameters or {})
        return {"name": model_name, "load": True}

    @post(UNLOAD_PATH, status_code=200)
    async def unload(model_name: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str | bool]:
        management.require_control()
        _decode(await request.body(), LoadRequest, '{"parameters": {"unload_dependents": false}}')  # no model depends on another
        await management.unload(model_name)
        return {"name": model_name, "unload": True}

    return [index, load, unload]


def _decode(body: bytes | bytearray, kind: type[Kind], example: str) -> Kind:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f"The body is not what this call takes: {error}. Send {{}} or {example}.") from error
