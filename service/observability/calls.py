"""What is told of each call when it is over: a line of the access log, spans, both or neither."""

import logging

from service.request_context import Call, CallObserver
from service.traces import Trace

logger = logging.getLogger("axon.access")


class AccessLog:
    """Logs one line a call: never a query, a header, a tensor or a key."""

    def sample(self, traceparent: str | None) -> Trace | None:  # noqa: ARG002 -- the log decides nothing
        """Ask for no trace."""
        return None

    def ended(self, call: Call) -> None:
        """Log a call."""
        milliseconds = (call.ended_at - call.context.started_at) * 1e3
        facts = {
            "protocol": call.protocol,
            "method": call.method,
            "path": call.path,
            "status": call.status,
            "milliseconds": round(milliseconds, 3),
            "bytes": call.size,
        }
        if call.context.key_name is not None:
            facts["key"] = call.context.key_name
        logger.info(
            "%s %s %s %.3f ms %d bytes%s",
            *(call.method, call.path, call.status, milliseconds, call.size),
            f" by key '{call.context.key_name}'" if call.context.key_name is not None else "",
            extra={"facts": facts, "context": call.context},
        )


class Both:
    """Two observers of calls as one: the first says which to trace."""

    def __init__(self, tracer: CallObserver, log: CallObserver) -> None:
        self._tracer = tracer
        self._log = log

    def sample(self, traceparent: str | None) -> Trace | None:
        """Return what the tracer wants."""
        return self._tracer.sample(traceparent)

    def ended(self, call: Call) -> None:
        """Tell both."""
        self._tracer.ended(call)
        self._log.ended(call)
