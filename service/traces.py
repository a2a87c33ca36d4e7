"""What a traced call leaves behind for its spans: ids as W3C Trace Context has them, and the stages that it went through.

Nothing here knows what becomes of it: observability/tracing.py makes spans of it when the call is over.
"""

from collections.abc import Mapping, Sequence
from random import getrandbits
from time import perf_counter, time_ns
from typing import Final

import msgspec

Attributes = Mapping[str, str | int | float | bool]
_NOTHING: Final[Attributes] = {}
_MOST_STAGES: Final = 512  # of one call: a stream may go on for ever


class Reference(msgspec.Struct, frozen=True):
    """A span, by its ids."""

    trace_id: int
    span_id: int


class Stage(msgspec.Struct, frozen=True):
    """A part of a call, in seconds of `perf_counter`. `parent_id` is the span that it is a part of."""

    name: str
    span_id: int
    parent_id: int
    started_at: float
    ended_at: float
    attributes: Attributes = _NOTHING
    links: Sequence[Reference] = ()


class Trace:
    """One call whose spans are wanted. `parent_id` is the span of the caller, None for a call that begins a trace."""

    __slots__ = ("attributes", "dropped", "epoch", "parent_id", "span_id", "stages", "trace_id")

    def __init__(self, trace_id: int | None = None, parent_id: int | None = None) -> None:
        self.trace_id: Final = trace_id or getrandbits(127) + 1
        self.parent_id: Final = parent_id
        self.span_id: Final = _made_span_id()
        self.epoch: Final = time_ns() - round(perf_counter() * 1e9)  # nanoseconds since 1970 at 0 of perf_counter
        self.stages: list[Stage] = []
        self.dropped = 0
        self.attributes: dict[str, str | int | float | bool] = {}

    @property
    def hex_id(self) -> str:
        """The id of the trace as it is written."""
        return f"{self.trace_id:032x}"

    @property
    def traceparent(self) -> str:
        """The header that names the span of this call as the parent of what follows."""
        return f"00-{self.hex_id}-{self.span_id:016x}-01"

    @property
    def reference(self) -> Reference:
        """The span of this call."""
        return Reference(self.trace_id, self.span_id)

    def add(
        self,
        name: str,
        started_at: float,
        ended_at: float,
        *,
        parent_id: int | None = None,
        attributes: Attributes = _NOTHING,
        links: Sequence[Reference] = (),
    ) -> Reference:
        """Note a stage, by default of the call itself; return what others may link to."""
        span_id = _made_span_id()
        if len(self.stages) < _MOST_STAGES:
            self.stages.append(Stage(name, span_id, parent_id or self.span_id, started_at, ended_at, attributes, links))
        else:
            self.dropped += 1
        return Reference(self.trace_id, span_id)


def _made_span_id() -> int:
    return getrandbits(63) + 1  # never 0, which is no id
