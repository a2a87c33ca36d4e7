"""The few ASGI moves that the request path makes by itself: read a body, notice that the client has left, respond.

Every protocol over HTTP uses them.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from math import inf
from time import perf_counter
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseBodyEvent, Message, Receive, Scope, Send

from service.errors import InvalidRequest, MalformedBody, PayloadTooLarge, ShuttingDown, UnsupportedEncoding, shown
from service.inference.batcher import Timing
from service.offload import Turns
from service.protocols.compression import CODINGS, accepted_coding, compress, decompress
from service.request_context import CLIENT_LEFT, Call, CallObserver, begin, never, request_context

JSON_TYPE: Final = b"application/json"
BINARY_TYPE: Final = b"application/octet-stream"
_JOINED: Final = 1 << 16  # bytes up to which one copy costs less than one more write to the socket
MILLISECONDS: Final = r"0\.[0-9]{0,8}[1-9][0-9]{0,8}|[1-9][0-9]{0,8}(\.[0-9]{1,9})?"
_MILLISECONDS: Final = re.compile(MILLISECONDS)


def header(scope: Scope, name: bytes) -> str | None:
    """Return the value of a request header (`name` in lower case), or None."""
    for key, value in scope["headers"]:  # a generator takes three times as long
        if key == name:
            return value.decode("latin-1")
    return None


class Body(NamedTuple):
    """A body as it came, and its coding if it is compressed."""

    data: bytes
    coding: str | None
    limit: int

    def plain(self) -> bytes:
        """Return the body, decompressed. Raises PayloadTooLarge as soon as it is known to exceed the limit, or MalformedBody."""
        return self.data if self.coding is None else decompress(self.data, self.coding, limit=self.limit)


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> Body:
    """Read the whole body as it is: what is compressed is decompressed where it is decoded, as it takes memory from then on.

    Raises PayloadTooLarge as soon as it is known to exceed `limit` bytes; UnsupportedEncoding before it is read.
    """
    coding = header(scope, b"content-encoding")
    coding = None if coding is None else _coding(coding)
    return Body(await _read_raw(scope, receive, limit=limit), coding, limit)


def _coding(content_encoding: str) -> str | None:
    """Return the coding of a body; None for none."""
    coding = content_encoding.strip().lower().removeprefix("x-")  # x-gzip is gzip: RFC 9110 8.4.1.3
    if coding in ("identity", ""):
        return None
    if coding not in CODINGS:
        raise UnsupportedEncoding(content_encoding)
    return coding


async def _read_raw(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdecimal() and int(declared[:20]) > limit:
        raise PayloadTooLarge(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise MalformedBody("The client closed the connection before the body was complete.")
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(limit)
        if not more and not chunks:
            return chunk
        chunks.append(chunk)
        if not more:
            return b"".join(chunks)


async def respond(
    send: Send,
    body: bytes | Sequence[bytes | memoryview],
    *,
    content_type: bytes = JSON_TYPE,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send a response with status 200; a body in parts is sent part by part, so that nothing large is copied."""
    parts = [body] if isinstance(body, bytes) else body
    size = sum(len(part) for part in parts)
    if len(parts) > 1 and size <= _JOINED:
        parts = [b"".join(parts)]
    head = [(b"content-type", content_type), (b"content-length", str(size).encode()), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    last = len(parts) - 1
    for index, part in enumerate(parts):
        await send(HTTPResponseBodyEvent(type="http.response.body", body=part, more_body=index < last))  # type: ignore[typeddict-item]


async def respond_compressed(
    scope: Scope,
    send: Send,
    parts: Sequence[bytes | memoryview],
    *,
    min_size: int,
    turns: Turns,
    content_type: bytes = JSON_TYPE,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Send a response with status 200, compressed if it has at least `min_size` bytes and the client asks for it."""
    wishes = header(scope, b"accept-encoding")
    if wishes and sum(map(len, parts)) >= min_size and (coding := accepted_coding(wishes)):
        parts = [await turns.run(compress, parts, coding)]
        headers = [*headers, (b"content-encoding", coding.encode())]
    await respond(send, parts, content_type=content_type, headers=headers)


def inference_headers(timing: Timing, version: int, started_at: float) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer of a model: where its time went, in milliseconds, and which version gave it."""
    queue, compute, total = timing.queue_seconds * 1e3, timing.compute_seconds * 1e3, (perf_counter() - started_at) * 1e3
    return [
        (b"server-timing", b"queue;dur=%.3f, compute;dur=%.3f, total;dur=%.3f" % (queue, compute, total)),
        (b"x-model-version", b"%d" % version),
    ]


def deadline(scope: Scope, timeout: float | None = None) -> float | None:
    """Return when the answer is of no use any more, in seconds of `perf_counter`, counted from when the call came; None for never.

    The client says so in the header `X-Request-Timeout-Ms`, or in the body by `timeout` seconds: the shorter one holds. Raises
    InvalidRequest for a header that is no number above 0.
    """
    text = header(scope, b"x-request-timeout-ms")
    if text is not None:
        if _MILLISECONDS.fullmatch(text) is None:
            raise InvalidRequest(f"X-Request-Timeout-Ms is '{shown(text)}'; expected a number of milliseconds above 0.")
        timeout = min(float(text) * 1e-3, inf if timeout is None else timeout)
    return None if timeout is None else request_context().started_at + timeout


class WithRequestContext:
    """The outermost layer: begins the context of each call, and puts its id on whatever answer it gets.

    An observer is told of calls when they are over, and asked which to trace: none of `untraced`, which are paths.
    """

    def __init__(self, application: ASGIApp, observer: CallObserver | None = None, untraced: frozenset[str] = frozenset()) -> None:
        self._application = application
        self._observer = observer
        self._untraced = untraced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on."""
        if scope["type"] != ScopeType.HTTP:
            await self._application(scope, receive, send)
            return
        request_id = traceparent = None
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value.decode("latin-1")
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
        observer = self._observer
        sample = never if observer is None or scope["path"] in self._untraced else observer.sample
        context = begin(request_id, traceparent, sample)
        added = [(b"x-request-id", context.request_id.encode())]
        if context.traceparent is not None:
            added.append((b"traceparent", context.traceparent.encode()))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        if observer is None or (context.trace is None and not observer.every):
            await self._application(scope, receive, send_with_id)
            return
        answer = _Answer(send_with_id)
        try:
            await self._application(scope, receive, answer)
        finally:
            status, failed = str(answer.status), answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            path = shown(scope.get("raw_path", b"").decode("latin-1"))
            observer.ended(Call(context, "http", scope["method"], path, status, failed, answer.size, perf_counter()))


class _Answer:
    """Passes an answer on and keeps what is to be said of it. A client that left before it has the status that nginx gives it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 499
        self.size = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.size += len(message["body"])
        await self._send(message)


class CancelledOnDisconnect:
    """Cancels the block when the client leaves before it is done; leaving the block is then silent, as nobody listens.

    Turns the cancellation of a server that stops into ShuttingDown, which the client gets to read.

    A server without the extension CLIENT_LEFT does not tell that a client has left; then nothing is cancelled.
    """

    def __init__(self, scope: Scope) -> None:
        self._call_when_left = _call_when_left(scope)
        self._gone = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is always handled in a task")
        self._task = task
        self._call_when_left(self._cancel)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        self._call_when_left(None)
        if not isinstance(error, asyncio.CancelledError):
            return False
        if self._gone and self._task.uncancel() == 0:
            return True
        raise ShuttingDown from None  # cancelled by the server, whose time for finishing is over

    def _cancel(self) -> None:
        self._gone = True
        self._task.cancel()


def _call_when_left(scope: Scope) -> Callable[[Callable[[], None] | None], None]:
    extensions: Mapping[str, Any] = scope.get("extensions") or {}
    found: Callable[[Callable[[], None] | None], None] = extensions.get(CLIENT_LEFT, lambda _function: None)
    return found
