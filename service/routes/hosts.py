"""The names that the server may be called by, where a setting lists them.

A web page can let its own host name point to this machine (DNS rebinding) and then read what a server on loopback answers; the
name gives it away. Plain ASGI around the application, not there at all without names.
"""

from collections.abc import Awaitable

from litestar.types import ASGIApp, Receive, Scope, Send

from service.errors import MisdirectedRequest
from service.routes import health
from service.routes.asgi import header
from service.routes.errors import refuse


class Hosts:
    """Refuses requests for other hosts than these. Health checks are let through: a kubelet calls by the address of the pod."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Compare the Host header, without its port."""
        host = header(scope, b"host") or ""
        if _without_port(host) in self._names or scope["path"].rstrip("/") in health.PROBES:
            return self._app(scope, receive, send)
        return refuse(send, MisdirectedRequest(host))


def _without_port(host: str) -> str:
    """Return the name or address; that of IPv6 stands in brackets."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()
