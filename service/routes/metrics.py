"""`/metrics` in the Prometheus text format."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from service.observability.metrics import CONTENT_TYPE, Metrics

METRICS_PATH = "/metrics"


def handlers(metrics: Metrics) -> list[HTTPRouteHandler]:
    """Return the handler over the metrics of one server."""

    @get(METRICS_PATH, sync_to_thread=False)
    def exposition() -> Response[bytes]:
        return Response(metrics.exposition(), headers={"content-type": CONTENT_TYPE})

    return [exposition]
