"""A call of a model over HTTP, in any protocol: find, read, decode, infer, encode, respond. The only way from a body to a model."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from litestar.types import HTTPScope, Receive, Send

from service.inference.served_model import Answer, ServedModel
from service.offload import Turns
from service.protocols.features import ModelInputs
from service.request_context import request_context, stage
from service.routes.asgi import JSON_TYPE, Body, CancelledOnDisconnect, deadline, inference_headers, read_body, respond_compressed

# Bytes from which decoding and encoding leave the event loop: there they would take milliseconds.
_LARGE_BODY: Final = 1 << 16
_LARGE_ANSWER: Final = 1 << 18


class Encoded(msgspec.Struct, frozen=True):
    """The body of an answer, in parts, of what type it is, and the headers that say more of it."""

    parts: Sequence[bytes | memoryview]
    content_type: bytes = JSON_TYPE
    headers: Sequence[tuple[bytes, bytes]] = ()


class Decoded(msgspec.Struct, frozen=True):
    """What a body asks for: inputs, the outputs to give (none means all), and how the answer is encoded.

    `timeout` is in seconds, `priority` 0 for the model's default. Outputs of more than `large` bytes are encoded on a thread.
    """

    inputs: ModelInputs
    encode: Callable[[Answer], Encoded]
    outputs: tuple[str, ...] = ()
    timeout: float | None = None
    priority: int = 0
    large: float = _LARGE_ANSWER


Find = Callable[[], ServedModel]
Decode = Callable[[bytes, ServedModel], Decoded]
TakesLong = Callable[[bytes, ServedModel], bool]


class Answering:
    """Answers calls. Sizes are in bytes: of the largest body that is read, and of the smallest answer that may be compressed."""

    def __init__(self, turns: Turns, *, max_body_size: int, min_compress_size: int) -> None:
        self._turns = turns
        self.max_body_size: Final = max_body_size
        self._min_compress_size = min_compress_size

    async def __call__(
        self, scope: HTTPScope, receive: Receive, send: Send, find: Find, decode: Decode, takes_long: TakesLong
    ) -> None:
        """Answer one call of the model that `find` gives; it is asked again once the body is there, as a model may be replaced.

        A body of which `takes_long` says that it may take milliseconds is decoded on a thread.
        """
        find().refuse_if_full()  # before the work of reading
        body = await read_body(scope, receive, limit=self.max_body_size)
        with CancelledOnDisconnect(scope):
            with stage("decode"):
                model, request = await self._decoded(body, find, decode, takes_long)
            answer = await model.infer(
                request.inputs.arrays,
                request.outputs,
                request.inputs.missing,
                deadline=deadline(scope, request.timeout),
                priority=request.priority,
            )
            with stage("encode"):
                encoded = await self._turns.run(request.encode, answer) if answer.nbytes > request.large else request.encode(answer)
            await respond_compressed(
                scope,
                send,
                encoded.parts,
                min_size=self._min_compress_size,
                turns=self._turns,
                content_type=encoded.content_type,
                headers=[*inference_headers(answer.timing, model.version, request_context().started_at), *encoded.headers],
            )

    async def _decoded(self, body: Body, find: Find, decode: Decode, takes_long: TakesLong) -> tuple[ServedModel, Decoded]:
        """Decode a body for the model that serves when that is done: one that was replaced meanwhile takes nothing more."""
        while True:
            model = find()
            with model.reading:
                if body.coding is None and not takes_long(body.data, model):
                    return model, decode(body.data, model)
                request = await self._turns.run(_decoded, body, model, decode)
            if find() is model:
                return model, request


def may_take_long(body: bytes, _model: ServedModel) -> bool:
    """Whether a body may take milliseconds to decode: a large one, and one with a picture or anything else beside plain JSON."""
    return len(body) > _LARGE_BODY or not body.isascii() or b"b64" in body or b"\\u" in body


def _decoded(body: Body, model: ServedModel, decode: Decode) -> Decoded:
    return decode(body.plain(), model)
