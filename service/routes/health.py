"""`/v2/health/...` and `/v2`: is the process alive, can it answer, what is it. Never waits behind inference."""

from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from service import __version__
from service.protocols.metadata import server_metadata
from service.registry import Registry

LIVE_PATH = "/v2/health/live"
READY_PATH = "/v2/health/ready"
SERVER_PATH = "/v2"
PROBES = frozenset({LIVE_PATH, READY_PATH})  # asked by what keeps the server running, which has no key


def handlers(registry: Registry) -> list[HTTPRouteHandler]:
    """Return the handlers over a registry."""

    @get(LIVE_PATH, sync_to_thread=False)
    def live() -> dict[str, bool]:
        return {"live": True}

    @get(READY_PATH, sync_to_thread=False)
    def ready() -> Response[dict[str, bool]]:
        return Response({"ready": registry.ready}, status_code=200 if registry.ready else 503)

    @get(SERVER_PATH, sync_to_thread=False)
    def server() -> dict[str, Any]:
        return server_metadata(__version__)

    return [live, ready, server]
