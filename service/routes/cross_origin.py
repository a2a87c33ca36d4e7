"""Cross-origin calls from browsers (the Fetch standard's CORS protocol), for the origins that a setting names.

Outermost, so that a page may read refusals as well; not there at all without origins. No cookies are involved:
a page that may call still needs an API key where the server has them.
"""

from collections.abc import Awaitable
from http import HTTPStatus
from typing import Final

from service.http.exchange import Exchange, Handler

ANY: Final = "*"
_VARY: Final = (b"vary", b"origin")
_EXPOSED: Final = (
    b"access-control-expose-headers",
    b"inference-header-content-length, retry-after, server-timing, traceparent, www-authenticate, x-model-version, x-request-id",
)
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST"),
    (
        b"access-control-allow-headers",
        (
            b"authorization, content-encoding, content-type, inference-header-content-length, traceparent, x-api-key, "
            b"x-request-id, x-request-timeout-ms"
        ),
    ),
    (b"access-control-max-age", b"7200"),
)


class CrossOrigin:
    """Answers preflights and marks answers for pages of these origins."""

    def __init__(self, handler: Handler, origins: frozenset[str]) -> None:
        self._handler = handler
        self._origins = origins

    def __call__(self, exchange: Exchange) -> Awaitable[None]:
        """Let everything through; a browser holds back what carries no mark."""
        origin = exchange.header(b"origin")
        if origin is None or not (origin in self._origins or ANY in self._origins):
            return self._handler(exchange)
        mark = (b"access-control-allow-origin", origin.encode("latin-1"))
        if exchange.method == "OPTIONS" and exchange.header(b"access-control-request-method") is not None:
            exchange.added += (mark, _VARY)
            return exchange.respond(HTTPStatus.NO_CONTENT, _PREFLIGHT, [])
        exchange.added += (mark, _EXPOSED, _VARY)
        return self._handler(exchange)
