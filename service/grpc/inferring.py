"""ModelInfer and ModelStreamInfer: a message into tensors, through the model, and back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import perf_counter
from typing import Final

import grpc

from service.grpc import inference, messages, status, wire
from service.grpc.calls import begin_call, call_metadata
from service.grpc.inference import Envelope
from service.grpc.status import Context, Metadata
from service.inference.batcher import Timing
from service.inference.served_model import ServedModel
from service.offload import LARGE_CONTENTS, LARGE_RAW
from service.protocols.infer_request import InferRequest
from service.registry import Registry
from service.request_context import request_context, stage
from service.room import Capacity

_MOST_IN_FLIGHT: Final = 64  # requests of one stream that are read before the first of them is answered
_INFER_RESPONSE: Final = 2


class Inference:
    """The handlers over a registry. Once `stopping` is set, streams end after what they have taken.

    `admit` raises if one more message of a stream may not be answered.
    """

    def __init__(
        self,
        registry: Registry,
        capacity: Capacity,
        *,
        stopping: asyncio.Event,
        admit: Callable[[Context], None] | None = None,
    ) -> None:
        self._registry = registry
        self._turns, self._room = capacity
        self._admit = admit
        self._stopping = stopping

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Return them by their names."""
        return {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._stream),
        }

    async def _infer(self, body: bytes, context: Context) -> bytes:
        begin_call(context)
        try:
            with self._room.hold() as hold:
                hold.add(len(body))
                pieces, trailers = await self._answer(inference.unpack(body), len(body), context.time_remaining())
        except Exception as error:  # noqa: BLE001 -- all become a status
            await status.abort(context, error, call_metadata())
        context.set_trailing_metadata((*call_metadata(), *trailers))
        return b"".join(pieces)

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answer each message in its turn, while those behind it are already under way."""
        begin_call(context)
        context.set_trailing_metadata(call_metadata())
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
        room = asyncio.Semaphore(_MOST_IN_FLIGHT)
        tasks: set[asyncio.Task[bytes]] = set()

        async def read() -> None:
            try:
                admit = None  # the first message was admitted with the stream
                async for body in requests:
                    await room.acquire()
                    task = asyncio.create_task(self._streamed(body, context, admit))
                    admit = self._admit
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    answers.put_nowait(task)
                    if len(body) > LARGE_RAW:
                        await asyncio.wait((task,))  # what one stream holds in memory stays bounded
            finally:
                answers.put_nowait(None)

        reader = asyncio.create_task(read())
        stopper = asyncio.create_task(self._stopping.wait())
        stopper.add_done_callback(lambda _: reader.cancel())
        try:
            while (task := await answers.get()) is not None:
                yield await task
                room.release()  # once the client has taken it
        finally:
            for pending in (stopper, reader, *tasks):
                pending.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _streamed(self, body: bytes, context: Context, admit: Callable[[Context], None] | None) -> bytes:
        """Return the answer to one message of a stream; its errors are answers too, so that they end nothing but themselves."""
        identifier = ""
        try:
            envelope = inference.unpack(body)
            identifier = envelope.id
            if admit is not None:
                admit(context)
            with self._room.hold() as hold:
                hold.add(len(body))
                pieces, _ = await self._answer(envelope, len(body), context.time_remaining())
        except Exception as error:  # noqa: BLE001 -- all become a message
            response = messages.StreamInferResponse(error_message=status.text_of(error), infer_response={"id": identifier})
            failure: bytes = response.SerializeToString()
            return failure
        return b"".join(wire.embedded(_INFER_RESPONSE, pieces))

    async def _answer(self, envelope: Envelope, size: int, allowed: float | None) -> tuple[list[wire.Buffer], Metadata]:
        """Run a request of `size` bytes that has `allowed` seconds left by the client's deadline."""
        arrived_at = perf_counter()
        self._registry.get(envelope.model, envelope.version).refuse_if_full()  # before the work of reading
        with stage("decode"):
            model, request = await self._decoded(envelope, size)
        limits = [seconds for seconds in (allowed, request.options.timeout) if seconds is not None]
        answer = await model.infer(
            request.inputs,
            request.output_names,
            request.missing,
            deadline=arrived_at + min(limits) if limits else None,
            priority=request.options.priority,
        )
        with stage("encode"):
            pieces = inference.encode(answer, model=model.name, version=model.version, envelope=envelope, request=request)
        return pieces, _trailers(model, answer.timing)

    async def _decoded(self, envelope: Envelope, size: int) -> tuple[ServedModel, InferRequest]:
        """Read the tensors, on a thread if that takes long, and find the model that serves when that is done."""
        model = self._registry.get(envelope.model, envelope.version)
        with model.reading:
            if size <= (LARGE_RAW if envelope.raw and not model.takes_text else LARGE_CONTENTS):
                return model, inference.decode(envelope)
            request = await self._turns.run(inference.decode, envelope)
        return self._registry.get(envelope.model, envelope.version), request


def _trailers(model: ServedModel, timing: Timing) -> Metadata:
    queue, compute = timing.queue_seconds * 1e3, timing.compute_seconds * 1e3
    total = (perf_counter() - request_context().started_at) * 1e3
    return (
        ("server-timing", f"queue;dur={queue:.3f}, compute;dur={compute:.3f}, total;dur={total:.3f}"),
        ("x-model-version", str(model.version)),
    )
