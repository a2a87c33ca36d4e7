"""What is known of the call that is being answered, wherever in the code: its id, its trace, and when it came.

Kept in a context variable, so a log line or a span can be given the id without any function passing it on.
"""

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from itertools import count
from time import perf_counter
from types import TracebackType
from typing import Final, Protocol

import msgspec

from service.traces import Trace

Sample = Callable[[str | None], Trace | None]

# Printable and without spaces or commas: nothing that could end a header, a log line or a list.
_REQUEST_ID: Final = re.compile(r"[!-+\--~]{1,128}")
# W3C Trace Context, 3.2: version, trace id, parent id and flags; ids of zeros only are invalid.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_numbers = count()
_process = os.urandom(6).hex()


class RequestContext(msgspec.Struct):
    """One call. `started_at` is in seconds of `perf_counter`.

    `traceparent` is what the answer says: the span of this call if it is traced, else what the client gave, None without a valid
    one. `key_name` is that of the API key, once it is known.
    """

    request_id: str
    traceparent: str | None
    started_at: float
    trace: Trace | None = None
    key_name: str | None = None

    @property
    def trace_id(self) -> str | None:
        """Id of the trace that the call belongs to, if any."""
        return None if self.traceparent is None else self.traceparent.split("-")[1]


class Call(msgspec.Struct, frozen=True):
    """A call that is over. `status` is HTTP's number or gRPC's word, `size` the bytes of the answer's body or message."""

    context: RequestContext
    protocol: str
    method: str
    path: str
    status: str
    failed: bool
    size: int
    ended_at: float


class CallObserver(Protocol):
    """Is asked which calls to trace, and told of calls when they are over: of `every` one, or of those that are traced."""

    every: bool

    def sample(self, traceparent: str | None) -> Trace | None:
        """Return the trace of a call that is to be traced, given the valid header of the client, if there is one."""

    def ended(self, call: Call) -> None:
        """Report a call that is over."""


_current: Final[ContextVar[RequestContext | None]] = ContextVar("axon_request", default=None)


def never(_traceparent: str | None) -> None:
    """Trace no call."""


def begin(request_id: str | None, traceparent: str | None, sample: Sample = never) -> RequestContext:
    """Make the context of a call, and the current one. What the client gave counts only if it is harmless; else an id is made."""
    if request_id is None or _REQUEST_ID.fullmatch(request_id) is None:
        request_id = made_request_id()
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) is None:
        traceparent = None
    started_at = perf_counter()
    trace = sample(traceparent)
    context = RequestContext(request_id, traceparent if trace is None else trace.traceparent, started_at, trace)
    _current.set(context)
    return context


def current_context() -> RequestContext | None:
    """Return the context of the call that is being answered; None outside of one."""
    return _current.get()


def current_trace() -> Trace | None:
    """Return the trace of the call that is being answered, if it is traced."""
    context = _current.get()
    return None if context is None else context.trace


def note_key(name: str) -> None:
    """Note whose call it is."""
    if (context := _current.get()) is not None:
        context.key_name = name


def stage(name: str) -> AbstractContextManager[None]:
    """Note the block as a stage of the current call, if that is traced."""
    trace = current_trace()
    return _UNTRACED if trace is None else _Stage(trace, name)


class _Stage(AbstractContextManager[None]):
    def __init__(self, trace: Trace, name: str) -> None:
        self._trace = trace
        self._name = name
        self._started_at = perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._trace.add(self._name, self._started_at, perf_counter())


_UNTRACED: Final = nullcontext()


def request_context() -> RequestContext:
    """Return the context of the call that is being answered. Raises LookupError outside of one."""
    context = _current.get()
    if context is None:
        raise LookupError("no call is being answered here")
    return context


def current_request_id() -> str | None:
    """Return the id of the call that is being answered; None outside of one."""
    context = _current.get()
    return None if context is None else context.request_id


def made_request_id() -> str:
    """Return an id that no other call has: random for the process, then counted, a tenth of what a UUID costs."""
    return f"{_process}-{next(_numbers):x}"


def _renew() -> None:
    global _process  # noqa: PLW0603 -- a fork would give two processes the same ids
    _process = os.urandom(6).hex()


os.register_at_fork(after_in_child=_renew)
