"""Who is told of each call when it is over: the access log, the tracer, both or nobody."""

import asyncio
import importlib
import logging
from typing import Any, Final

from service.errors import ConfigurationError
from service.offload import offload
from service.request_context import Call, CallObserver
from service.traces import Trace

logger = logging.getLogger("axon.access")
_LONGEST_FAREWELL: Final = 5.0  # seconds that the last spans may take


class AccessLog:
    """Logs one line a call: never a query, a header, a tensor or a key."""

    every = True

    def sample(self, traceparent: str | None) -> Trace | None:  # noqa: ARG002 -- the log decides nothing
        """Ask for no trace."""
        return None

    def ended(self, call: Call) -> None:
        """Log a call."""
        milliseconds = (call.ended_at - call.context.started_at) * 1e3
        key = call.context.key_name
        facts = {
            "protocol": call.protocol,
            "method": call.method,
            "path": call.path,
            "status": call.status,
            "milliseconds": round(milliseconds, 3),
            "bytes": call.size,
        } | ({} if key is None else {"key": key})
        logger.info(
            "%s %s %s %.3f ms %d bytes%s",
            *(call.method, call.path, call.status, milliseconds, call.size, "" if key is None else f" key '{key}'"),
            extra={"facts": facts, "context": call.context},
        )


class Both:
    """Two observers of calls as one: the first says which to trace."""

    every = True

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


class Watching:
    """The observer of calls, if anybody wants to know of them, and its end."""

    def __init__(self, observer: CallObserver | None, tracer: Any | None) -> None:  # noqa: ANN401 -- of a module that may not be there
        self.observer: Final = observer
        self._tracer = tracer

    async def close(self, *, patience: float) -> None:
        """Send the last spans, as far as that takes no longer than `patience` seconds and not too long either."""
        if self._tracer is not None:
            closing = asyncio.ensure_future(offload(self._tracer.close))
            await asyncio.wait((closing,), timeout=min(patience, _LONGEST_FAREWELL))


def watching(*, access_log: bool, endpoint: str | None, ratio: float, server_version: str) -> Watching:
    """Return who is to be told of calls. Raises what `require_tracing` raises."""
    log = AccessLog() if access_log else None
    if endpoint is None:
        return Watching(log, None)
    tracer = _tracing().Tracer(endpoint, ratio=ratio, server_version=server_version)
    return Watching(tracer if log is None else Both(tracer, log), tracer)


def require_tracing(endpoint: str | None) -> None:
    """Raise ConfigurationError if spans are wanted and OpenTelemetry is not installed."""
    if endpoint is not None:
        _tracing()


def _tracing() -> Any:  # noqa: ANN401 -- a module
    """Import tracing.py, which a server that traces nothing must not need: it takes time and memory, and an extra."""
    try:
        return importlib.import_module("service.observability.tracing")
    except ImportError as error:
        raise ConfigurationError(
            f"Setting 'tracing_endpoint' needs OpenTelemetry, which cannot be imported: {error}. "
            "Install it with: pip install 'axon-serving[tracing]'"
        ) from error
