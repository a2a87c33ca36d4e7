"""What every call has in common: its id and trace, and that any failure ends in a status."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from service.grpc import messages, status, wire
from service.grpc.messages import Message
from service.grpc.status import Context, Metadata
from service.request_context import RequestContext, Sample, begin, current_context, never, request_context

Action = Callable[[Message], Awaitable[Message] | Message]


def begin_call(context: Context) -> None:
    """Begin the context of a call, unless one who observes it has begun it."""
    if current_context() is None:
        begin_with(context.invocation_metadata())


def begin_with(metadata: Any, sample: Sample = never) -> RequestContext:  # noqa: ANN401 -- pairs, or None
    """Begin the context of a call from its metadata, which has the names of HTTP's headers."""
    given = dict(metadata or ())
    return begin(_text(given.get("x-request-id")), _text(given.get("traceparent")), sample)


def call_metadata() -> Metadata:
    """Return what the trailing metadata of every answer says: the id of the call, and its trace if it has one."""
    current = request_context()
    trace = () if current.traceparent is None else (("traceparent", current.traceparent),)
    return (("x-request-id", current.request_id), *trace)


def unary(request: str, action: Callable[[Message], Awaitable[Message]]) -> grpc.RpcMethodHandler:
    """Return the handler of a call with one message each way. Messages pass gRPC as bytes, so a malformed one is our error."""
    kind = messages.message_class(request)

    async def call(body: bytes, context: Context) -> bytes:
        begin_call(context)
        try:
            wire.refuse_many_fields(body)
            answer: bytes = (await action(messages.parse(kind, body))).SerializeToString()
        except Exception as error:  # noqa: BLE001 -- all become a status
            await status.abort(context, error, call_metadata())
        context.set_trailing_metadata(call_metadata())
        return answer

    return grpc.unary_unary_rpc_method_handler(call)


def _text(value: Any) -> str | None:  # noqa: ANN401 -- text or bytes, by the name of the key
    return value if isinstance(value, str) else None
