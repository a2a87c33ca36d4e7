"""What is known of the call that is being answered, wherever in the code: its id, its trace, and when it came.

Kept in a context variable, so a log line or a span can be given the id without any function passing it on.
"""

import os
import re
from contextvars import ContextVar
from itertools import count
from time import perf_counter
from typing import Final

import msgspec

# The ASGI extension of the server: a function that takes what is to be called if the client leaves; None takes it back.
CLIENT_LEFT: Final = "axon.client_left"
# Printable and without spaces or commas: nothing that could end a header, a log line or a list.
_REQUEST_ID: Final = re.compile(r"[!-+\--~]{1,128}")
# W3C Trace Context, 3.2: version, trace id, parent id and flags; ids of zeros only are invalid.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_numbers = count()
_process = os.urandom(6).hex()


class RequestContext(msgspec.Struct, frozen=True):
    """One call. `started_at` is in seconds of `perf_counter`; `traceparent` is the client's, None without a valid one."""

    request_id: str
    traceparent: str | None
    started_at: float


_current: Final[ContextVar[RequestContext | None]] = ContextVar("axon_request", default=None)


def begin(request_id: str | None, traceparent: str | None) -> RequestContext:
    """Make the context of a call, and the current one. What the client gave counts only if it is harmless; else an id is made."""
    if request_id is None or _REQUEST_ID.fullmatch(request_id) is None:
        request_id = made_request_id()
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) is None:
        traceparent = None
    context = RequestContext(request_id, traceparent, perf_counter())
    _current.set(context)
    return context


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
