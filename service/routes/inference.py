"""`POST /v2/models/.../infer`: a body into tensors, through the model, and back."""

from functools import partial
from typing import Final

from litestar.types import HTTPScope, Receive, Send

from service.errors import MalformedBody, shown
from service.inference.served_model import ServedModel
from service.offload import offload
from service.protocols import open_inference
from service.protocols.open_inference import EncodedAnswer, InferRequest
from service.registry import Registry
from service.request_context import request_context
from service.routes.asgi import (
    BINARY_TYPE,
    JSON_TYPE,
    CancelledOnDisconnect,
    deadline,
    header,
    inference_headers,
    read_body,
    respond_compressed,
)

# Bytes from which decoding and encoding leave the event loop. It runs between their steps; while JSON is parsed or written it does
# not, wherever that happens, since nobody else gets Python's lock. So for what takes a millisecond or two a thread is a loss.
_LARGE: Final = 1 << 20
_JSON_SIZE: Final = b"inference-header-content-length"


class Inference:
    """The handler. Sizes are in bytes: of the largest body that is read, and of the smallest answer that may be compressed."""

    def __init__(self, registry: Registry, *, max_body_size: int, min_compress_size: int) -> None:
        self._registry = registry
        self._max_body_size = max_body_size
        self._min_compress_size = min_compress_size

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send, name: str, version: str | None) -> None:
        """Answer one call."""
        self._registry.get(name, version).refuse_if_full()  # before the work of reading
        body = await read_body(scope, receive, limit=self._max_body_size)
        with CancelledOnDisconnect(scope):
            model = self._registry.get(name, version)  # again: it may have been replaced while the body came in
            request = await _decoded(body, header(scope, _JSON_SIZE), model)
            answer = await model.infer(
                request.inputs,
                request.output_names,
                request.missing,
                deadline=deadline(scope, request.options.timeout),
                priority=request.options.priority,
            )
            encode = partial(open_inference.encode, answer, model=model.name, version=model.version, request=request)
            encoded = await offload(encode) if answer.nbytes > _LARGE and not request.options.binary_outputs else encode()
            headers = inference_headers(answer.timing, model.version, request_context().started_at)
            await self._respond(scope, send, encoded, headers)

    async def _respond(self, scope: HTTPScope, send: Send, encoded: EncodedAnswer, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the answer, compressed if it is large and the client asks for it."""
        content_type = JSON_TYPE
        if encoded.json_size is not None:
            content_type = BINARY_TYPE
            headers.append((_JSON_SIZE, str(encoded.json_size).encode()))
        await respond_compressed(
            scope, send, encoded.parts, min_size=self._min_compress_size, content_type=content_type, headers=headers
        )


async def _decoded(body: bytes, json_size: str | None, model: ServedModel) -> InferRequest:
    """Decode a body; on a thread if that takes long."""
    if json_size is None:
        return await offload(open_inference.decode, body) if len(body) > _LARGE else open_inference.decode(body)
    if not json_size.isdecimal() or len(json_size) > len(str(len(body))):
        raise MalformedBody(
            f"Inference-Header-Content-Length is '{shown(json_size)}'; expected the size of the JSON, from 1 to {len(body)}, "
            "or 0 for a body of raw bytes."
        )
    size = int(json_size)
    if not size:
        return open_inference.decode_raw(body, model.signature)
    # Numbers in binary form are looked at, not read.
    if max(size, len(body) if model.takes_text else 0) > _LARGE:
        return await offload(open_inference.decode, body, json_size=size)
    return open_inference.decode(body, json_size=size)
