"""Logging of the service: one line an event, on standard error, for a terminal or as JSON.

A line that belongs to a call has the ids of its request and of its trace. Facts that a message holds are fields of the JSON as
well, where the caller gives them as `extra={"facts": {...}}`.
"""

import logging.config
from datetime import UTC, datetime
from functools import lru_cache
from time import localtime, strftime
from typing import Any, Literal

import msgspec

from service.request_context import RequestContext, current_context

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]


class TextFormatter(logging.Formatter):
    """A line for people: time, level, logger, message, and which request it is about."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 -- as logging has it
        """Return local time with milliseconds."""
        return f"{_second(int(record.created))},{record.msecs:03.0f}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the name that logging has for it
        """Return the line, without a traceback."""
        ids = " ".join(f"{key}={value}" for key, value in _ids(record).items())
        line = super().formatMessage(record)
        return f"{line} [{ids}]" if ids else line


class JsonFormatter(logging.Formatter):
    """A line for machines: one JSON object, a traceback included. Times are UTC, as RFC 3339 has them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _ids(record) | getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    """Return local time: for the many lines of one second it is the same."""
    return strftime("%Y-%m-%d %H:%M:%S", localtime(seconds))


_FORMATTERS: dict[Format, dict[str, Any]] = {
    "text": {"()": TextFormatter, "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
    "json": {"()": JsonFormatter},
}


def configure(level: Level, form: Format = "text") -> None:
    """Send the log of Axon, and what libraries warn of, to standard error."""
    # What no line says need not be found out for each: the caller's place in the code, thread, process and task.
    logging._srcfile = None  # noqa: SLF001 -- so recommended by Python's logging HOWTO, Optimization
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": _FORMATTERS[form]},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "loggers": {
                "axon": {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
                "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            },
            "root": {"handlers": ["stderr"], "level": "WARNING"},
        }
    )


def _ids(record: logging.LogRecord) -> dict[str, str]:
    """Return the ids of the request that a line is about: the one given with it, else the current one."""
    context: RequestContext | None = getattr(record, "context", None) or current_context()
    if context is None:
        return {}
    trace_id = context.trace_id
    return {"request_id": context.request_id} | ({} if trace_id is None else {"trace_id": trace_id})
