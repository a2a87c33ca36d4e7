"""`model.toml`: how one model is to be served, written by a person or a tool, beside its versions."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self

import msgspec

from service.errors import ConfigurationError
from service.repository.expectations import explained
from service.repository.runtime_configuration import Policy, Provider, Rows, SessionTuning, WarmUp

CONFIGURATION_NAME = "model.toml"

Positive = Annotated[int, msgspec.Meta(ge=1)]
Threads = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Instances = Annotated[int, msgspec.Meta(ge=1, le=64)]
Levels = Annotated[int, msgspec.Meta(ge=0, le=100)]
Delay = Annotated[float, msgspec.Meta(ge=0, le=10)]
_MAX_BATCH_SIZE = 64  # rows, unless model.toml says otherwise


class Batching(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How requests are merged into runs.

    `max_batch_size` and `max_queue_size` count rows; where the latter is unset, as many may wait as can be run in time.
    `max_queue_delay` is in seconds, measured from the arrival of the oldest waiting request: 0 takes what waits as soon as a
    session is idle. `enabled` unset means: if the graph has a batch axis and its rows proved independent of each other.

    `batch_sizes` lists the only numbers of rows that a run may have; fewer rows are filled up to the next. For execution providers
    that compile the graph anew for each shape. The largest is `max_batch_size`, which is 64 without such a list.

    With `priority_levels` of 2 or more, a request's `priority` from 1, the first served, to that number counts; any other, also
    none, means `default_priority_level`, which is the last level unless set. As in Triton, 0 levels ignore priorities.
    """

    enabled: bool | None = None
    max_batch_size: Rows = 0  # unset: filled in below
    preferred_batch_size: Rows = 0
    max_queue_size: Rows = 0  # unset: what can be run in time
    max_queue_delay: Delay = 0.0
    batch_sizes: Annotated[tuple[Rows, ...], msgspec.Meta(max_length=64)] = ()
    priority_levels: Levels = 0
    default_priority_level: Levels = 0

    def __post_init__(self) -> None:
        """Fill in what follows from other keys. Raises ValueError for keys that contradict each other."""
        if list(self.batch_sizes) != sorted(set(self.batch_sizes)):
            raise ValueError(f"batch_sizes = {list(self.batch_sizes)} must be ascending, each size once")
        largest = self.batch_sizes[-1] if self.batch_sizes else self.max_batch_size or _MAX_BATCH_SIZE
        if self.preferred_batch_size > largest:
            raise ValueError(f"preferred_batch_size = {self.preferred_batch_size} is more than the largest batch, {largest}")
        if self.max_batch_size not in (0, largest):
            raise ValueError(f"max_batch_size = {self.max_batch_size} is not the largest of batch_sizes, {largest}; leave it out")
        if self.default_priority_level > self.priority_levels:
            raise ValueError(
                f"default_priority_level = {self.default_priority_level} is beyond priority_levels = {self.priority_levels}"
            )
        if (self.max_batch_size or self.batch_sizes) and not self.preferred_batch_size:
            msgspec.structs.force_setattr(self, "preferred_batch_size", largest)
        msgspec.structs.force_setattr(self, "max_batch_size", largest)
        msgspec.structs.force_setattr(self, "default_priority_level", self.default_priority_level or self.priority_levels)

    def level(self, priority: int) -> int:
        """Return the level on which a request of `priority` waits; the lowest number is served first."""
        return priority if 0 < priority <= self.priority_levels else self.default_priority_level


class Cache(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Answers kept for requests with the same input, up to `max_bytes` of outputs; 0 keeps none."""

    max_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


class Latest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="policy", tag="latest"):
    """Serve the newest `count` versions that can be loaded."""

    count: Positive = 1

    def candidates(self, available: Iterable[int]) -> list[int]:
        """Order the versions by preference: the newest first."""
        return sorted(available, reverse=True)


class All(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="policy", tag="all"):
    """Serve every version."""

    @property
    def count(self) -> int:
        """No limit."""
        return 2**31

    def candidates(self, available: Iterable[int]) -> list[int]:
        """Order the versions by preference: the newest first."""
        return sorted(available, reverse=True)


class Specific(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="policy", tag="specific"):
    """Serve the versions of `numbers`, those of them that are there."""

    numbers: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1)]

    @property
    def count(self) -> int:
        """All that are named."""
        return len(self.numbers)

    def candidates(self, available: Iterable[int]) -> list[int]:
        """Order the versions by preference: the newest first."""
        return sorted(set(self.numbers) & set(available), reverse=True)


class ModelConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of `model.toml`. Every key may be left out.

    `providers` are execution providers of onnxruntime, the first choice first, each a name or a table with `name` and `options`;
    without them the server's setting holds. The CPU runs what they do not take. With the policy `require` all of them must be
    there and the first must take part of the graph; with `prefer` the next or the CPU will do, and the log says why.
    `instances` is how many runs may happen at once. `intra_op_threads` is the number of threads that work on one run; unset, it
    follows from the CPUs of the process and from what else is loaded.
    `labels` are names that stand for versions in a request, `stable = 3` for example.
    With `required`, the server is not ready as long as this model does not serve.
    """

    batching: Batching = Batching()
    cache: Cache = Cache()
    versions: Latest | All | Specific = Latest()
    labels: dict[str, Positive] = {}
    providers: Annotated[tuple[str | Provider, ...], msgspec.Meta(max_length=8)] = ()
    provider_policy: Policy = "require"
    instances: Instances = 1
    intra_op_threads: Threads | None = None
    session: SessionTuning = SessionTuning()
    warm_up: WarmUp = WarmUp()
    required: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for providers that cannot stand together."""
        names = [provider.name for provider in self.wishes]
        if len(set(names)) < len(names) or ("auto" in names and len(names) > 1):
            raise ValueError(f"providers = {names} must be different, and 'auto' alone")

    @property
    def wishes(self) -> tuple[Provider, ...]:
        """The providers, those that are only named too."""
        return tuple(Provider(name=each) if isinstance(each, str) else each for each in self.providers)

    @classmethod
    def read(cls, model_directory: Path, override: Mapping[str, Any] = MappingProxyType({})) -> Self:
        """Read `model.toml`; without the file everything has its default. What `override` says goes before the file.

        Raises ConfigurationError.
        """
        path = model_directory / CONFIGURATION_NAME
        try:
            if path.exists() and not path.is_file():  # to read a pipe would wait for ever
                raise ConfigurationError(f"{path} is no file. Put a file of TOML there, or nothing.")
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raw = {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"Cannot read {path}: {error}.") from error
        for key, value in override.items():
            raw[key] = raw.get(key, {}) | value if key == "batching" else value
        try:
            return msgspec.convert(raw, cls)
        except msgspec.ValidationError as error:
            place = f"{path} with what the load call sets" if override else path
            raise ConfigurationError(f"{place}: {explained(error, cls)}.") from error
