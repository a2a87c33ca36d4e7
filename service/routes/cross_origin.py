"""Cross-origin calls from browsers (the Fetch standard's CORS protocol), for the origins that a setting names.

Plain ASGI and outermost, so that a page may read refusals as well; not there at all without origins. No cookies are involved:
a page that may call still needs an API key where the server has them.
"""

from collections.abc import Awaitable
from typing import Any, Final

from litestar.types import ASGIApp, HTTPResponseStartEvent, Receive, Scope, Send

from service.routes.asgi import header

ANY: Final = "*"
_VARY: Final = (b"vary", b"origin")
_EXPOSED: Final = (
    b"access-control-expose-headers",
    b"inference-header-content-length, retry-after, server-timing, traceparent, www-authenticate, x-request-id",
)
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST"),
    (
        b"access-control-allow-headers",
        b"authorization, content-encoding, content-type, inference-header-content-length, traceparent, x-api-key, x-request-id",
    ),
    (b"access-control-max-age", b"7200"),
    (b"content-length", b"0"),
)


class CrossOrigin:
    """Answers preflights and marks answers for pages of these origins."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self._app = app
        self._origins = origins

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Let everything through; a browser holds back what carries no mark."""
        origin = header(scope, b"origin")
        if origin is None or not (origin in self._origins or ANY in self._origins):
            return self._app(scope, receive, send)
        mark = (b"access-control-allow-origin", origin.encode("latin-1"))
        if scope.get("method") == "OPTIONS" and header(scope, b"access-control-request-method") is not None:
            return _answer_preflight(send, mark)

        async def marked(message: Any) -> None:  # noqa: ANN401 -- any ASGI message
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], mark, _EXPOSED, _VARY]
            await send(message)

        return self._app(scope, receive, marked)


async def _answer_preflight(send: Send, mark: tuple[bytes, bytes]) -> None:
    start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 204, "headers": [mark, _VARY, *_PREFLIGHT]}
    await send(start)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
