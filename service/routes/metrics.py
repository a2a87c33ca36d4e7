"""`/metrics` in the Prometheus text format, or in OpenMetrics for those who ask for it."""

from typing import Any

from litestar import Request, Response, get
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from service.errors import NotFound
from service.observability.metrics import Metrics
from service.routes.errors import refuse

METRICS_PATH = "/metrics"


def handlers(metrics: Metrics) -> list[HTTPRouteHandler]:
    """Return the handler over the metrics of one server."""

    @get(METRICS_PATH, sync_to_thread=False)
    def exposition(request: Request[Any, Any, Any]) -> Response[bytes]:
        content, content_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type})

    return [exposition]


class MetricsPort:
    """An application whose metrics are on a port of their own, with nothing else on it, and are not on any other."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is asked for at the right port."""
        if scope["type"] == ScopeType.HTTP:
            own_port = (scope["server"] or ("", None))[1] == self._port
            if own_port is not (scope["path"] == METRICS_PATH):
                where = f"{METRICS_PATH} is at port {self._port} only" if not own_port else f"Only {METRICS_PATH} is at this port"
                await refuse(send, NotFound(f"{where}."))
                return
        await self._app(scope, receive, send)
