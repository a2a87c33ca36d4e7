"""OpenTelemetry spans over OTLP: the only file that knows opentelemetry. It is imported when tracing is wanted, and not before.

Spans are made when a call is over, of the times that the code has anyway; they leave in batches, on a thread of their own. What
the standard says of the environment holds here too: OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME and
OTEL_BSP_*.
"""

import re
from random import random
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from service.request_context import Call
from service.traces import Reference, Stage, Trace

_PATH: Final = "/v1/traces"  # of OTLP over HTTP, where an address has none
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_ERROR: Final = Status(StatusCode.ERROR)
_FINE: Final = Status(StatusCode.UNSET)
# Parts of a path that are names of a client's choice. A name of a span is a kind of call, so it has none of them.
_MODEL: Final = re.compile(
    r"(/v2/models|/v1/models|/models|/v2/repository/models)/[^/:]+(/versions/[^/:]+|/labels/[^/:]+)?"
    r"(/(?:infer|ready|stats|config|predict|metadata|load|unload)|:(?:predict|classify|regress))?/?"
)
_FIXED: Final = re.compile(r"/v2(/models(/stats)?|/repository/index)?|/v1/models|/openapi\.json|/docs")


class Tracer:
    """Makes spans of traced calls and sends them to `endpoint`, an OTLP/HTTP address.

    A call whose client is traced is traced if the client is, and belongs to its trace; of the others the part `ratio` is.
    """

    every = False

    def __init__(self, endpoint: str, *, ratio: float, server_version: str) -> None:
        address = endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _PATH
        self._ratio = ratio
        self._resource = Resource.create({"service.name": "axon", "service.version": server_version})
        self._scope = InstrumentationScope("axon", server_version)
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=address, timeout=5.0))

    def sample(self, traceparent: str | None) -> Trace | None:
        """Return the trace of a call that is to be traced."""
        if traceparent is None:
            return Trace() if random() < self._ratio else None  # noqa: S311 -- nothing depends on it but a sample
        _, trace_id, parent_id, flags = traceparent.split("-")
        return Trace(int(trace_id, 16), int(parent_id, 16)) if int(flags, 16) & TraceFlags.SAMPLED else None

    def ended(self, call: Call) -> None:
        """Hand the spans of a call over, if it is traced."""
        trace = call.context.trace
        if trace is None:
            return
        for stage in trace.stages:
            self._processor.on_end(self._part(trace, stage))
        self._processor.on_end(self._whole(trace, call))

    def close(self) -> None:
        """Send what is left and end the thread. Blocking."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _part(self, trace: Trace, stage: Stage) -> ReadableSpan:
        return ReadableSpan(
            stage.name,
            _context(Reference(trace.trace_id, stage.span_id)),
            parent=_context(Reference(trace.trace_id, stage.parent_id)),
            resource=self._resource,
            instrumentation_scope=self._scope,
            attributes=stage.attributes,
            links=[Link(_context(each)) for each in stage.links],
            status=_ERROR if stage.attributes.get("axon.batch.failed") else _FINE,
            start_time=_nanoseconds(trace, stage.started_at),
            end_time=_nanoseconds(trace, stage.ended_at),
        )

    def _whole(self, trace: Trace, call: Call) -> ReadableSpan:
        route = path_template(call.path)
        attributes = {**trace.attributes, "url.path": call.path, "axon.request_id": call.context.request_id}
        if call.protocol == "grpc":
            service, _, method = call.path.strip("/").rpartition("/")
            attributes |= {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method, "rpc.grpc.status": call.status}
            name = call.path.strip("/")
        else:
            attributes |= {"http.request.method": call.method, "http.response.status_code": int(call.status)}
            attributes |= {"http.response.body.size": call.size} | ({"http.route": route} if route else {})
            name = f"{call.method} {route}" if route else call.method
        if trace.dropped:
            attributes["axon.dropped_stages"] = trace.dropped
        return ReadableSpan(
            name,
            _context(trace.reference),
            parent=None if trace.parent_id is None else _context(Reference(trace.trace_id, trace.parent_id), remote=True),
            resource=self._resource,
            instrumentation_scope=self._scope,
            attributes=attributes,
            kind=SpanKind.SERVER,
            status=_ERROR if call.failed else _FINE,
            start_time=_nanoseconds(trace, call.context.started_at),
            end_time=_nanoseconds(trace, call.ended_at),
        )


def path_template(path: str) -> str | None:
    """Return a path with the names of models and versions left out; None for one that has no such form."""
    if (match := _MODEL.fullmatch(path)) is not None:
        root, version, verb = match.groups()
        which = "" if version is None else "/versions/{version}" if version.startswith("/v") else "/labels/{label}"
        return f"{root}/{{model}}{which}{verb or ''}"
    return path if _FIXED.fullmatch(path) else None


def _context(reference: Reference, *, remote: bool = False) -> SpanContext:
    return SpanContext(reference.trace_id, reference.span_id, is_remote=remote, trace_flags=_SAMPLED)


def _nanoseconds(trace: Trace, seconds: float) -> int:
    return trace.epoch + round(seconds * 1e9)
