"""A call of a model over HTTP, in any protocol: find, read, decode, infer, encode, respond. The only way from a body to a model."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import Final

import msgspec

from service.errors import ShuttingDown
from service.http.exchange import Exchange, Headers
from service.inference.batcher import Timing
from service.inference.served_model import Answer, ServedModel
from service.offload import LARGE_ROWS, LARGE_ROWS_ANSWER
from service.protocols.compression import accepted_coding, compress
from service.protocols.features import ModelInputs
from service.request_context import request_context, stage
from service.room import Capacity
from service.routes.requests import Body, deadline, header_timeout, read_body

JSON_TYPE: Final = b"application/json"
BINARY_TYPE: Final = b"application/octet-stream"


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
    large: float = LARGE_ROWS_ANSWER


Find = Callable[[], ServedModel]
Decode = Callable[[bytes | bytearray, ServedModel], Decoded]
TakesLong = Callable[[bytes | bytearray, ServedModel], bool]


class Answering:
    """Answers calls. Sizes are in bytes: of the largest body that is read, and of the smallest answer that may be compressed."""

    def __init__(self, capacity: Capacity, *, max_body_size: int, min_compress_size: int) -> None:
        self._turns, self._room = capacity
        self.max_body_size: Final = max_body_size
        self._min_compress_size = min_compress_size

    async def __call__(self, exchange: Exchange, find: Find, decode: Decode, takes_long: TakesLong) -> None:
        """Answer one call of the model that `find` gives; it is asked again once the body is there, as a model may be replaced.

        A body of which `takes_long` says that it may take milliseconds is decoded on a thread. If the client leaves, its work ends.
        """
        model = find()
        model.refuse_if_full()  # before the work of reading
        with self._room.hold() as hold:
            try:
                with model.reading:
                    patience = header_timeout(exchange)
                    body = await read_body(exchange, hold, limit=self.max_body_size)
                exchange.cancel_if_left(wanted=True)
                await self._answer(exchange, body, patience, find, decode, takes_long)
            except asyncio.CancelledError:
                if not exchange.was_left():
                    raise ShuttingDown from None  # cancelled by the server, whose time for finishing is over
            finally:
                exchange.cancel_if_left(wanted=False)

    async def _answer(
        self, exchange: Exchange, body: Body, patience: float | None, find: Find, decode: Decode, takes_long: TakesLong
    ) -> None:
        with stage("decode"):
            model, request = await self._decoded(body, find, decode, takes_long)
        answer = await model.infer(
            request.inputs.arrays,
            request.outputs,
            request.inputs.missing,
            deadline=deadline(patience, request.timeout),
            priority=request.priority,
        )
        with stage("encode"):
            encoded = await self._turns.run(request.encode, answer) if answer.nbytes > request.large else request.encode(answer)
        parts = encoded.parts
        headers = [
            (b"content-type", encoded.content_type),
            *_inference_headers(answer.timing, model.version, request_context().started_at),
            *encoded.headers,
        ]
        wishes = exchange.header(b"accept-encoding")
        if wishes and sum(map(len, parts)) >= self._min_compress_size and (coding := accepted_coding(wishes)):
            parts = [await self._turns.run(compress, parts, coding)]
            headers.append((b"content-encoding", coding.encode()))
        await exchange.respond(HTTPStatus.OK, headers, parts)

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


async def respond_json(exchange: Exchange, content: object) -> None:
    """Send a response with status 200 that says something in JSON."""
    await exchange.respond(HTTPStatus.OK, [(b"content-type", JSON_TYPE)], [msgspec.json.encode(content)])


def may_take_long(body: bytes | bytearray, _model: ServedModel) -> bool:
    """Whether a body may take milliseconds to decode: a large one, and one with a picture or anything else beside plain JSON."""
    return len(body) > LARGE_ROWS or not body.isascii() or b"b64" in body or b"\\u" in body


def _decoded(body: Body, model: ServedModel, decode: Decode) -> Decoded:
    return decode(body.plain(), model)


def _inference_headers(timing: Timing, version: int, started_at: float) -> Headers:
    """Return the headers of an answer of a model: where its time went, in milliseconds, and which version gave it."""
    queue, compute, total = timing.queue_seconds * 1e3, timing.compute_seconds * 1e3, (perf_counter() - started_at) * 1e3
    return (
        (b"server-timing", b"queue;dur=%.3f, compute;dur=%.3f, total;dur=%.3f" % (queue, compute, total)),
        (b"x-model-version", b"%d" % version),
    )
