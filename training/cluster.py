"""`TF_CONFIG`: whether this process fits alone or is one of several workers, as TensorFlow and what starts its jobs write it."""

import json
from collections.abc import Mapping
from typing import Final, Self

import msgspec

from training.errors import FitRefused

VARIABLE: Final = "TF_CONFIG"
_EXPECTED: Final = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


class Cluster(msgspec.Struct, frozen=True):
    """How many workers there are, and which of them this is. The first one keeps the checkpoint, evaluates and publishes."""

    count: int = 1
    rank: int = 0

    @property
    def helps(self) -> bool:
        """Tell whether this worker only takes part in the fit."""
        return self.rank > 0

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Read TF_CONFIG; without it the process is alone. Raises FitRefused for one that is not of plain workers."""
        text = environ.get(VARIABLE)
        if not text:
            return cls()
        try:
            config = msgspec.convert(json.loads(text), _Config)
        except (json.JSONDecodeError, msgspec.ValidationError) as error:
            raise FitRefused(f"{VARIABLE} cannot be read: {error}. Expected {_EXPECTED}.") from error
        workers, task = config.cluster.worker, config.task
        if task.type != "worker" or not 0 <= task.index < len(workers):
            raise FitRefused(
                f"{VARIABLE} makes this process {task.type} {task.index} of {len(workers)} workers; expected worker 0 to "
                f"{len(workers) - 1}."
            )
        return cls(len(workers), task.index)


class _Workers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    worker: tuple[str, ...]


class _Task(msgspec.Struct, frozen=True):
    type: str
    index: int


class _Config(msgspec.Struct, frozen=True):
    cluster: _Workers
    task: _Task
