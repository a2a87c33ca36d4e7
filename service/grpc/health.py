"""`grpc.health.v1`: whether the server, or a model by its name, answers requests; once, as it changes, or of all at once.

Rules: github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

from service.errors import NotFound, shown
from service.grpc import messages, status
from service.grpc.status import Context
from service.registry import Registry

NAME: Final = "grpc.health.v1.Health"
_SERVER: Final = ("", messages.SERVICE, NAME)
_States = health_pb2.HealthCheckResponse


class Health:
    """The service over a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._stopping = False
        self._watchers: set[asyncio.Event] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handlers of the service."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Check": grpc.unary_unary_rpc_method_handler(_answered(health_pb2.HealthCheckRequest, self._check)),
                "List": grpc.unary_unary_rpc_method_handler(_answered(health_pb2.HealthListRequest, self._list)),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
            },
        )

    def stop(self) -> None:
        """Say from now on that nothing is served, to those who watch and those who ask, and end all watching."""
        self._stopping = True
        for watcher in self._watchers:
            watcher.set()

    async def _check(self, request: Any) -> bytes:  # noqa: ANN401 -- a message
        state = self._state(request.service)
        if state == _States.SERVICE_UNKNOWN:
            raise NotFound(f"Health is known of the server, by the empty name, and of models; not of '{shown(request.service)}'.")
        return _encoded(state)

    async def _list(self, _request: Any) -> bytes:  # noqa: ANN401 -- a message
        names = (*_SERVER, *self._registry.names())
        statuses = {name: _States(status=self._state(name)) for name in names}
        encoded: bytes = health_pb2.HealthListResponse(statuses=statuses).SerializeToString()
        return encoded

    async def _watch(self, body: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            name = messages.parse(health_pb2.HealthCheckRequest, body).service
        except Exception as error:  # noqa: BLE001 -- all become a status
            await status.abort(context, error)
        news = asyncio.Event()
        self._watchers.add(news)
        unsubscribe = self._registry.subscribe(news.set)
        last = None
        try:
            while True:
                state = self._state(name)
                if state != last:
                    yield _encoded(state)
                    last = state
                if self._stopping:
                    return
                await news.wait()
                news.clear()
        finally:
            unsubscribe()
            self._watchers.discard(news)

    def _state(self, name: str) -> int:
        if name in _SERVER:
            serving = self._registry.ready
        elif name in self._registry.names():
            serving = bool(self._registry.versions(name))
        else:
            return int(_States.SERVICE_UNKNOWN)
        return int(_States.SERVING if serving and not self._stopping else _States.NOT_SERVING)


def _answered(kind: Any, answer: Callable[[Any], Awaitable[bytes]]) -> Callable[[bytes, Context], Awaitable[bytes]]:  # noqa: ANN401 -- a message class
    async def call(body: bytes, context: Context) -> bytes:
        try:
            return await answer(messages.parse(kind, body))
        except Exception as error:  # noqa: BLE001 -- all become a status
            return await status.abort(context, error)

    return call


def _encoded(state: int) -> bytes:
    encoded: bytes = _States(status=state).SerializeToString()
    return encoded
