"""`/v2/repository/index`: every model version that the server knows of, with its state and what is wrong with it."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler

from service.errors import MalformedBody
from service.registry import Registry, State, VersionStatus

INDEX_PATH = "/v2/repository/index"


class IndexRequest(msgspec.Struct, frozen=True):
    """Body of an index request; `ready` true lists only what can answer."""

    ready: bool = False


def handlers(registry: Registry) -> list[HTTPRouteHandler]:
    """Return the handlers over a registry."""

    @post(INDEX_PATH, status_code=200)
    async def index(request: Request[Any, Any, Any]) -> list[VersionStatus]:
        wanted = _decode(await request.body())
        return [status for status in registry.index() if status.state is State.READY or not wanted.ready]

    return [index]


def _decode(body: bytes) -> IndexRequest:
    try:
        return msgspec.json.decode(body or b"{}", type=IndexRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBody(f'The body is not an index request: {error}. Send {{}} or {{"ready": true}}.') from error
