"""A call of a model in any protocol that needs its signature to read a body: read, decode, infer, encode, respond."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from litestar.types import HTTPScope, Receive, Send

from service.inference.served_model import Answer, ServedModel
from service.offload import Turns
from service.protocols.features import ModelInputs
from service.request_context import request_context, stage
from service.routes.asgi import JSON_TYPE, Body, CancelledOnDisconnect, deadline, inference_headers, read_body, respond_compressed

# Bytes from which decoding and encoding leave the event loop: there they would take milliseconds.
_LARGE_BODY: Final = 1 << 16
_LARGE_ANSWER: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a body asks for: inputs, the outputs to give (none means all), and how these are encoded, as what type."""

    inputs: ModelInputs
    encode: Callable[[Answer], bytes]
    outputs: tuple[str, ...] = ()
    content_type: bytes = JSON_TYPE


class Answering:
    """Answers calls. Sizes are in bytes: of the largest body that is read, and of the smallest answer that may be compressed."""

    def __init__(self, turns: Turns, *, max_body_size: int, min_compress_size: int) -> None:
        self._turns = turns
        self.max_body_size: Final = max_body_size
        self._min_compress_size = min_compress_size

    async def __call__(
        self,
        scope: HTTPScope,
        receive: Receive,
        send: Send,
        find: Callable[[], ServedModel],
        decode: Callable[[bytes, ServedModel], Decoded],
    ) -> None:
        """Answer one call of the model that `find` gives; it is asked again once the body is there, as a model may be replaced."""
        find().refuse_if_full()  # before the work of reading
        body = await read_body(scope, receive, limit=self.max_body_size)
        with CancelledOnDisconnect(scope):
            with stage("decode"):
                model, request = await self._decoded(body, find, decode)
            answer = await model.infer(request.inputs.arrays, request.outputs, request.inputs.missing, deadline=deadline(scope))
            with stage("encode"):
                encoded = await self._turns.run(request.encode, answer) if answer.nbytes > _LARGE_ANSWER else request.encode(answer)
            await respond_compressed(
                scope,
                send,
                [encoded],
                min_size=self._min_compress_size,
                turns=self._turns,
                content_type=request.content_type,
                headers=inference_headers(answer.timing, model.version, request_context().started_at),
            )

    async def _decoded(
        self, body: Body, find: Callable[[], ServedModel], decode: Callable[[bytes, ServedModel], Decoded]
    ) -> tuple[ServedModel, Decoded]:
        """Decode a body for the model that serves when that is done: one that was replaced meanwhile takes nothing more."""
        while True:
            model = find()
            with model.reading:
                if body.coding is None and not _takes_long(body.data):
                    return model, decode(body.data, model)
                request = await self._turns.run(_decode, decode, body, model)
            if find() is model:
                return model, request


def _takes_long(body: bytes) -> bool:
    """Whether a body may take milliseconds to decode: a large one, and one with a picture or anything else beside plain JSON."""
    return len(body) > _LARGE_BODY or not body.isascii() or b"b64" in body or b"\\u" in body


def _decode(decode: Callable[[bytes, ServedModel], Decoded], body: Body, model: ServedModel) -> Decoded:
    return decode(body.plain(), model)
