"""What a fitted column is, and the two forms that an index can take: one 0/1 feature for each value, or an id for an embedding."""

import math
from typing import Final, Protocol

import numpy as np

from service.repository.signature import TensorSpec
from training.features.graph import Graph

_WIDEST: Final = 64


class Fitted(Protocol):
    """One column as the network will see it, with everything that was learned from the training rows.

    `names` are its features in the tensor `dense`; empty if the column becomes a tensor of its own, `output`.
    """

    @property
    def column(self) -> str:
        """Name of the raw column."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dense features, in their order."""

    @property
    def output(self) -> TensorSpec | None:
        """The column's own tensor, if it has one."""

    @property
    def dimension(self) -> int | None:
        """Size of the embedding vectors that the ids of `output` are for."""

    def build(self, graph: Graph, raw: str) -> str:
        """Add the column's nodes behind the tensor `raw`; return FP32 [batch, len(names)], or what `output` says."""


def ids_output(column: str, size: int) -> TensorSpec:
    """Describe a tensor of ids 0 to size - 1, one a row."""
    return TensorSpec(name=f"{column}_id", datatype="INT64", shape=(-1,), value_range=(0, size - 1))


def embedding_dimension(size: int) -> int:
    """Return a usual size of the vectors for `size` ids: 1.6 * size ** 0.56, at most 64 (the rule of fast.ai)."""
    return min(_WIDEST, math.ceil(1.6 * math.pow(size, 0.56)))


def one_hot(graph: Graph, ids: str, size: int) -> str:
    """Turn INT64 ids [batch] into FP32 [batch, size]; an id of `size` or more has no feature, and gives zeros."""
    return graph.node("OneHot", ids, graph.constant(size, np.int64), graph.constant([0, 1], np.float32), axis=-1)
