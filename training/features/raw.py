"""Tensors that the network takes as they are."""

from msgspec import Struct

from service.repository.signature import TensorSpec
from training.features.graph import Graph


class FittedRaw(Struct, frozen=True, kw_only=True, tag_field="kind", tag="raw"):
    """Nothing was learned. The network's input has a name of its own, since the column keeps its name too."""

    column: str
    tensor: TensorSpec

    @property
    def names(self) -> tuple[str, ...]:
        """None: the column is a tensor of its own."""
        return ()

    @property
    def dimension(self) -> None:
        """None: nothing is known about the numbers."""

    @property
    def output(self) -> TensorSpec:
        """The column's datatype and shape."""
        return self.tensor

    def build(self, graph: Graph, raw: str) -> str:  # noqa: ARG002 -- the interface
        """Give the column."""
        return raw


def fit_raw(column: TensorSpec) -> FittedRaw:
    """Take a column of numbers of any shape."""
    tensor = TensorSpec(name=f"{column.name}_raw", datatype=column.datatype, shape=column.shape, value_range=column.value_range)
    return FittedRaw(column=column.name, tensor=tensor)
