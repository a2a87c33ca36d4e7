"""Tells an observer of gRPC calls when they are over; not there at all where nobody wants to know."""

from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter
from typing import Any, Final

import grpc

from service.errors import shown
from service.grpc.calls import begin_with
from service.grpc.protection import OPEN
from service.grpc.status import Context
from service.request_context import Call, CallObserver, RequestContext, never

# What OpenTelemetry's semantic conventions call an error of the server.
_SERVER_FAILED: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class Observed(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """The outermost interceptor: begins the context of a call, and reports its end. Probes are not traced."""

    def __init__(self, observer: CallObserver) -> None:
        self._observer = observer

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], call: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401 -- a handler
        """Put a report behind the handler of the call."""
        context = begin_with(call.invocation_metadata, never if call.method in OPEN else self._observer.sample)
        handler = await continuation(call)
        if handler is None or (context.trace is None and not self._observer.every):  # None: there is no such method
            return handler
        path = shown(call.method)
        if handler.unary_unary is not None:
            return handler._replace(unary_unary=self._unary(handler.unary_unary, context, path))
        if handler.stream_stream is not None:
            return handler._replace(stream_stream=self._stream(handler.stream_stream, context, path))
        return handler

    def _unary(self, behaviour: Callable[[Any, Context], Awaitable[Any]], context: RequestContext, path: str) -> Any:  # noqa: ANN401 -- a handler
        async def call(request: Any, servicer: Context) -> Any:  # noqa: ANN401 -- bytes, or a message of grpc's own services
            size = 0
            try:
                answer = await behaviour(request, servicer)
                size = len(answer) if isinstance(answer, bytes) else answer.ByteSize()
                return answer
            finally:
                self._ended(context, path, servicer, size)

        return call

    def _stream(self, behaviour: Any, context: RequestContext, path: str) -> Any:  # noqa: ANN401 -- a handler
        async def call(requests: AsyncIterator[Any], servicer: Context) -> AsyncIterator[Any]:
            size = 0
            try:
                given = behaviour(requests, servicer)
                if isinstance(given, Awaitable):
                    await given
                    return
                async for answer in given:
                    size += len(answer) if isinstance(answer, bytes) else answer.ByteSize()
                    yield answer
            finally:
                self._ended(context, path, servicer, size)

        return call

    def _ended(self, context: RequestContext, path: str, servicer: Context, size: int) -> None:
        code = servicer.code() or grpc.StatusCode.OK
        code = code if isinstance(code, grpc.StatusCode) else next(each for each in grpc.StatusCode if each.value[0] == code)
        if servicer.cancelled():
            code = grpc.StatusCode.CANCELLED
        self._observer.ended(Call(context, "grpc", "POST", path, code.name, code in _SERVER_FAILED, size, perf_counter()))
