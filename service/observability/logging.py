"""Logging of the service: one line an event, on standard error."""

import logging.config
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


def configure(level: Level) -> None:
    """Send the log of Axon and of the HTTP server to standard error."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "loggers": {
                "axon": {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
                "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            },
        }
    )
