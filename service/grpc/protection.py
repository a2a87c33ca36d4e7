"""The guard in front of every gRPC method: the same keys, scopes and rates as for HTTP, not there at all without API keys.

A method that it does not know needs the scope `manage`, so that a new one is closed rather than open.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from grpc_reflection.v1alpha import reflection

from service.errors import AxonError, shown
from service.grpc import messages, status
from service.grpc.calls import begin_call, call_metadata
from service.grpc.health import NAME as HEALTH
from service.grpc.status import Context
from service.request_context import note_key
from service.security.guard import Guard
from service.security.keys import presented
from service.security.scopes import Scope

logger = logging.getLogger("axon.security")

_SERVICE: Final = f"/{messages.SERVICE}/"
STREAM: Final = f"{_SERVICE}ModelStreamInfer"
# What keeps a server running asks without a key, and cannot be given one: Kubernetes' probes, balancers.
OPEN: Final = frozenset({f"/{HEALTH}/Check", f"/{HEALTH}/Watch", f"{_SERVICE}ServerLive", f"{_SERVICE}ServerReady"})
_NEEDED: Final = {
    f"{_SERVICE}ModelInfer": Scope.INFER,
    STREAM: Scope.INFER,
    f"{_SERVICE}ServerMetadata": Scope.READ,
    f"{_SERVICE}ModelReady": Scope.READ,
    f"{_SERVICE}ModelMetadata": Scope.READ,
    f"{_SERVICE}ModelConfig": Scope.READ,
    f"{_SERVICE}ModelStatistics": Scope.READ,
    f"{_SERVICE}RepositoryIndex": Scope.READ,
    f"/{HEALTH}/List": Scope.READ,  # it names the models, and no probe asks for it
    f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": Scope.READ,
}


class Protection(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Lets admitted calls through. A stream is admitted as a call, and each of its messages after the first once more."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], call: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401 -- a handler
        """Answer for the method where the guard refuses."""
        if call.method in OPEN:
            return await continuation(call)
        needed = _NEEDED.get(call.method, Scope.MANAGE)
        try:
            name = self._guard.admit(_key(call.invocation_metadata), needed)
        except AxonError as error:
            return _refusal(error)
        note_key(name)
        if needed is Scope.MANAGE:
            logger.info("API key '%s': %s", name, shown(call.method))
        return await continuation(call)

    def admit_message(self, context: Context) -> None:
        """Raise what the guard says of one more message of a stream."""
        self._guard.admit(_key(context.invocation_metadata()), Scope.INFER)


def _key(metadata: Any) -> bytes | None:  # noqa: ANN401 -- pairs of a name in lower case and text or bytes
    return presented((name.encode(), value.encode() if isinstance(value, str) else value) for name, value in metadata or ())


def _refusal(error: AxonError) -> grpc.RpcMethodHandler:
    """Return a handler that gives an error whatever the method takes: it reads no message."""

    async def refuse(_requests: Any, context: Context) -> None:  # noqa: ANN401 -- never read
        begin_call(context)
        await status.abort(context, error, call_metadata())

    return grpc.stream_stream_rpc_method_handler(refuse)
