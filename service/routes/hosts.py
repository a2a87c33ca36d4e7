"""The names that the server may be called by, where a setting lists them.

A web page can let its own host name point to this machine (DNS rebinding) and then read what a server on loopback answers; the
name gives it away. Around all others; not there at all without names.
"""

from collections.abc import Awaitable

from service.errors import MisdirectedRequest
from service.http.exchange import Exchange, Handler
from service.routes import health
from service.routes.errors import refuse
from service.routes.metrics import METRICS_PATH


class Hosts:
    """Refuses requests for other hosts than these.

    Health checks are let through, and metrics on a port of their own: a kubelet and Prometheus call by the address of the pod.
    """

    def __init__(self, handler: Handler, names: frozenset[str], *, metrics_apart: bool) -> None:
        self._handler = handler
        self._names = frozenset(name.lower() for name in names)
        self._open = health.PROBES | ({METRICS_PATH} if metrics_apart else set())

    def __call__(self, exchange: Exchange) -> Awaitable[None]:
        """Compare the Host header, without its port."""
        host = exchange.header(b"host") or ""
        if _without_port(host) in self._names or exchange.path.rstrip("/") in self._open:
            return self._handler(exchange)
        return refuse(exchange, MisdirectedRequest(host))


def _without_port(host: str) -> str:
    """Return the name or address; that of IPv6 stands in brackets."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()
