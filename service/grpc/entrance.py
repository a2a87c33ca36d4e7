"""Through which every call comes; at a stop it takes on those that wait in front of it before it is closed.

When its server stops, gRPC ends a call that has arrived and was not taken on with CANCELLED, which clients do not try again
(github.com/grpc/grpc/issues/41785); under load that is nearly every call there is. So before the stop new calls are taken on and
kept without an answer: then callers who ask, wait, and ask again send nothing more, and nothing waits in front of the server.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

import grpc

from service.grpc.status import Context

_LOOK_SECONDS: Final = 0.001
_QUIET_LOOKS: Final = 5  # fewer without a call can be a process that did not get a CPU, or a connection that is being made
_MOST_SECONDS: Final = 0.25  # callers that never wait for an answer never leave a pause


class Entrance(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Finds the handler of a call among those of some services."""

    def __init__(self, *services: grpc.GenericRpcHandler) -> None:
        self._services = services
        self._emptying = False
        self._released = asyncio.Event()
        self._came = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return the handler of a call, or None if there is no such method."""
        found = (each.service(handler_call_details) for each in self._services)
        handler = next((each for each in found if each is not None), None)
        if not self._emptying:
            return handler
        self._came += 1
        if handler is None or handler.unary_unary is None:
            return handler
        return handler._replace(unary_unary=self._kept(handler.unary_unary))

    async def empty(self, patience: float) -> None:
        """Keep new calls without an answer until no more come, `patience` seconds at most."""
        self._emptying = True
        end = monotonic() + min(patience, _MOST_SECONDS)
        quiet = 0
        while quiet < _QUIET_LOOKS and monotonic() < end:
            before = self._came
            await asyncio.sleep(_LOOK_SECONDS)
            quiet = quiet + 1 if self._came == before else 0

    def release(self) -> None:
        """Have the calls answered that were kept."""
        self._released.set()

    def _kept(self, behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:  # noqa: ANN401 -- bytes, or a message of grpc's own services
            await self._released.wait()
            return await behaviour(request, context)

        return call
