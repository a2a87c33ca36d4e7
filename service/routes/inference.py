"""`POST /v2/models/.../infer`: a body into tensors, through the model, and back."""

from functools import partial
from typing import Final

from litestar.types import HTTPScope, Receive, Send

from service.errors import MalformedBody, shown
from service.inference.served_model import ServedModel
from service.offload import Turns
from service.protocols import open_inference
from service.protocols.open_inference import EncodedAnswer, InferRequest
from service.registry import Registry
from service.request_context import request_context, stage
from service.routes.asgi import (
    BINARY_TYPE,
    JSON_TYPE,
    Body,
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

    def __init__(self, registry: Registry, turns: Turns, *, max_body_size: int, min_compress_size: int) -> None:
        self._registry = registry
        self._turns = turns
        self._max_body_size = max_body_size
        self._min_compress_size = min_compress_size

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send, name: str, version: str | None) -> None:
        """Answer one call."""
        self._registry.get(name, version).refuse_if_full()  # before the work of reading
        body = await read_body(scope, receive, limit=self._max_body_size)
        with CancelledOnDisconnect(scope):
            with stage("decode"):
                model, request = await self._decoded(body, header(scope, _JSON_SIZE), name, version)
            answer = await model.infer(
                request.inputs,
                request.output_names,
                request.missing,
                deadline=deadline(scope, request.options.timeout),
                priority=request.options.priority,
            )
            encode = partial(open_inference.encode, answer, model=model.name, version=model.version, request=request)
            with stage("encode"):
                encoded = (
                    await self._turns.run(encode) if answer.nbytes > _LARGE and not request.options.binary_outputs else encode()
                )
            headers = inference_headers(answer.timing, model.version, request_context().started_at)
            await self._respond(scope, send, encoded, headers)

    async def _respond(self, scope: HTTPScope, send: Send, encoded: EncodedAnswer, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the answer, compressed if it is large and the client asks for it."""
        content_type = JSON_TYPE
        if encoded.json_size is not None:
            content_type = BINARY_TYPE
            headers.append((_JSON_SIZE, str(encoded.json_size).encode()))
        await respond_compressed(
            scope,
            send,
            encoded.parts,
            min_size=self._min_compress_size,
            turns=self._turns,
            content_type=content_type,
            headers=headers,
        )

    async def _decoded(self, body: Body, json_size: str | None, name: str, version: str | None) -> tuple[ServedModel, InferRequest]:
        """Decode a body, on a thread if that takes long, for the model that serves when that is done.

        It may have been replaced while the body came in, or while it was decoded; then it takes nothing more.
        """
        while True:
            model = self._registry.get(name, version)
            with model.reading:
                if body.coding is None and not _takes_long(body.data, json_size, model):
                    return model, _decode(body, json_size, model)
                request = await self._turns.run(_decode, body, json_size, model)
            if self._registry.get(name, version) is model:
                return model, request


def _takes_long(body: bytes, json_size: str | None, model: ServedModel) -> bool:
    """Whether a body may take milliseconds to decode. Numbers in binary form are looked at, not read."""
    if len(body) <= _LARGE:
        return False
    return json_size is None or model.takes_text or not json_size.isdecimal() or int(json_size[:20]) > _LARGE


def _decode(received: Body, json_size: str | None, model: ServedModel) -> InferRequest:
    body = received.plain()
    if json_size is None:
        return open_inference.decode(body)
    if not json_size.isdecimal() or len(json_size) > len(str(len(body))):
        raise MalformedBody(
            f"Inference-Header-Content-Length is '{shown(json_size)}'; expected the size of the JSON, from 1 to {len(body)}, "
            "or 0 for a body of raw bytes."
        )
    size = int(json_size)
    return open_inference.decode(body, json_size=size) if size else open_inference.decode_raw(body, model.signature)
