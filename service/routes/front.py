"""The outermost layer of HTTP: begins the context of each call, leads it inwards, and tells an observer when it is over."""

from http import HTTPStatus
from time import perf_counter

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from service.errors import shown
from service.http.asgi_exchange import AsgiExchange
from service.http.exchange import Exchange, Handler
from service.request_context import Call, CallObserver, begin, never


class Framework:
    """Everything that an application of the framework answers. Made before the application is given another handler."""

    def __init__(self, application: Litestar) -> None:
        self._application = application
        self._handler = application.asgi_handler

    async def __call__(self, exchange: Exchange) -> None:
        """Have it answered."""
        scope = exchange.scope
        scope["app"] = scope["litestar_app"] = self._application
        await self._handler(scope, exchange.receive, exchange.send)  # type: ignore[arg-type]  # a dict with what a scope has


class Front:
    """Puts the id of a call on whatever answer it gets.

    An observer is told of calls when they are over, and asked which to trace: none of `untraced`, which are paths.
    """

    def __init__(self, handler: Handler, observer: CallObserver | None = None, untraced: frozenset[str] = frozenset()) -> None:
        self._handler = handler
        self._observer = observer
        self._untraced = untraced

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call that came over another server, which may also offer WebSockets; there are none here."""
        if scope["type"] == ScopeType.WEBSOCKET:
            await send({"type": "websocket.close", "code": 1000, "reason": "There are no WebSockets here."})
            return
        await self(AsgiExchange(scope, receive, send))

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a call."""
        observer = self._observer
        sample = never if observer is None or exchange.path in self._untraced else observer.sample
        context = begin(exchange.header(b"x-request-id"), exchange.header(b"traceparent"), sample)
        exchange.added.append((b"x-request-id", context.request_id.encode()))
        if context.traceparent is not None:
            exchange.added.append((b"traceparent", context.traceparent.encode()))
        if observer is None or (context.trace is None and not observer.every):
            await self._handler(exchange)
            return
        try:
            await self._handler(exchange)
        finally:
            status, failed = str(exchange.status), exchange.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            path = shown(exchange.raw_path.decode("latin-1"))
            observer.ended(Call(context, "http", exchange.method, path, status, failed, exchange.size, perf_counter()))
