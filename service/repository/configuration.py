"""`model.toml`: how one model is to be served, written by a person or a tool, beside its versions."""

import tomllib
from pathlib import Path
from typing import Annotated, Self

import msgspec

from service.errors import ConfigurationError

CONFIGURATION_NAME = "model.toml"

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Batching(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How requests are merged into runs.

    `max_batch_size` and `max_queue_size` count rows. `max_queue_delay` is in seconds, measured from the arrival of the oldest
    waiting request: 0 takes what waits as soon as a session is idle. `enabled` unset means: if the graph has a batch axis
    and its rows proved independent of each other.
    """

    enabled: bool | None = None
    max_batch_size: Positive = 64
    max_queue_size: Positive = 4096
    max_queue_delay: Seconds = 0.0


class ModelConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of `model.toml`. Every key may be left out.

    `intra_op_threads` is the number of threads that work on one run; unset, it follows from the CPUs of the process.
    """

    batching: Batching = Batching()
    intra_op_threads: Positive | None = None

    @classmethod
    def read(cls, model_directory: Path) -> Self:
        """Read `model.toml`; without the file everything has its default. Raises ConfigurationError."""
        path = model_directory / CONFIGURATION_NAME
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"Cannot read {path}: {error}.") from error
        try:
            return msgspec.convert(raw, cls)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"{path}: {error}.") from error
