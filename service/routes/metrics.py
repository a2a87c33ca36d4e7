"""`/metrics` in the Prometheus text format, or in OpenMetrics for those who ask for it."""

from collections.abc import Awaitable
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from service.errors import NotFound
from service.http.exchange import Exchange, Handler
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
    """Has metrics on a port of their own, with nothing else on it, and on no other."""

    def __init__(self, handler: Handler, port: int) -> None:
        self._handler = handler
        self._port = port

    def __call__(self, exchange: Exchange) -> Awaitable[None]:
        """Pass on what is asked for at the right port."""
        own_port = exchange.port == self._port
        asked = "/" + exchange.path.strip("/") == METRICS_PATH  # slashes too many are none to the framework
        if own_port is not asked:
            where = f"{METRICS_PATH} is at port {self._port} only" if not own_port else f"Only {METRICS_PATH} is at this port"
            return refuse(exchange, NotFound(f"{where}."))
        return self._handler(exchange)
