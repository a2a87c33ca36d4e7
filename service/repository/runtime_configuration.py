"""The parts of `model.toml` that say how onnxruntime runs a model: execution providers, session, warm-up."""

from typing import Annotated, Literal

import msgspec

Policy = Literal["require", "prefer"]
Optimization = Literal["none", "basic", "extended", "layout", "all"]
Rows = Annotated[int, msgspec.Meta(ge=1, le=2**24)]


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An execution provider by onnxruntime's name for it, with the provider's own options; `auto` takes none."""

    name: str
    options: dict[str, str | bool | int | float] = {}

    def __post_init__(self) -> None:
        """Raise ValueError without a name, or for options that nobody would read."""
        if not self.name:
            raise ValueError("name is empty; expected a provider of onnxruntime, CUDAExecutionProvider for example")
        if self.options and self.name in ("auto", "CPUExecutionProvider"):
            raise ValueError(f"{self.name} takes no options; threads are set by intra_op_threads, memory in [session]")

    @property
    def texts(self) -> dict[str, str]:
        """The options as onnxruntime reads them: everything is text, a boolean is True or False."""
        return {key: str(value) for key, value in self.options.items()}


class SessionTuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What onnxruntime does with the graph and with memory.

    `graph_optimization` is the level up to which the graph is rewritten. Without `memory_arena` memory is taken from the system for
    each run; with `arena_shrinkage` the arenas give back what a run left unused, at the price of asking for it again.
    """

    graph_optimization: Optimization = "all"
    memory_arena: bool = True
    arena_shrinkage: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for keys that contradict each other."""
        if self.arena_shrinkage and not self.memory_arena:
            raise ValueError("arena_shrinkage = true needs memory_arena = true")


class WarmUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Runs on blank input before a version serves.

    `batch_sizes` are their numbers of rows; unset, one row and a full batch, or every size that a run may have.
    """

    enabled: bool = True
    batch_sizes: Annotated[tuple[Rows, ...], msgspec.Meta(max_length=64)] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for sizes that would not be run."""
        if self.batch_sizes and not self.enabled:
            raise ValueError("batch_sizes without enabled = true; leave one of them out")
