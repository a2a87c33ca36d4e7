"""Numbers as buckets: compared with the boundaries exactly, integers as integers."""

import itertools
import math
from typing import Any, Final

import numpy as np
from msgspec import Struct

from service.repository.signature import TensorSpec
from training.errors import FeatureError
from training.features.encoding import embedding_dimension, ids_output, one_hot
from training.features.graph import Graph
from training.spec.features import BucketizedSpec

_SMALLEST: Final = -(2**63)
_LARGEST: Final = 2**63 - 1

Array = np.ndarray[Any, Any]


class FittedBuckets(Struct, frozen=True, kw_only=True, tag_field="kind", tag="bucketized"):
    """Bucket i holds boundaries[i - 1] <= x < boundaries[i]; a missing number gets the bucket after the last.

    `missing` says whether training rows miss the number; without them that bucket has no one-hot feature, but zeros.
    """

    column: str
    integer: bool
    boundaries: tuple[float, ...]
    missing: bool
    dimension: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """One feature a bucket, or none if the column is embedded."""
        if self.dimension is not None:
            return ()
        edges = [repr(boundary).removesuffix(".0") for boundary in self.boundaries]
        inner = [f"{low}<={self.column}<{high}" for low, high in itertools.pairwise(edges)]
        last = [f"{self.column}=<missing>"] if self.missing else []
        return (f"{self.column}<{edges[0]}", *inner, f"{self.column}>={edges[-1]}", *last)

    @property
    def output(self) -> TensorSpec | None:
        """The ids, if the column is embedded."""
        return None if self.dimension is None else ids_output(self.column, len(self.boundaries) + 2 - self.integer)

    def build(self, graph: Graph, raw: str) -> str:
        """Give FP32 [batch, len(names)], or INT64 ids [batch]."""
        kind = np.int64 if self.integer else np.float64
        values = graph.cast(raw, kind)
        above = graph.node("GreaterOrEqual", graph.column(values), graph.constant(self._exact(), kind))
        ids = graph.node("ReduceSum", graph.cast(above, np.int64), graph.constant([1], np.int64), keepdims=0)
        if not self.integer:
            missing = graph.node("Or", graph.node("IsNaN", values), graph.node("IsInf", values))
            ids = graph.node("Where", missing, graph.constant(len(self.boundaries) + 1, np.int64), ids)
        return one_hot(graph, ids, len(self.names)) if self.dimension is None else ids

    def _exact(self) -> list[float] | list[int]:
        """Return what is compared with: an integer is at or above a boundary if it is at or above the next whole number."""
        if not self.integer:
            return list(self.boundaries)
        return [min(max(math.ceil(boundary), _SMALLEST), _LARGEST) for boundary in self.boundaries]


def fit_buckets(column: TensorSpec, spec: BucketizedSpec, values: Array) -> FittedBuckets:
    """Choose the boundaries by training rows, numbers of [rows], unless the spec has them. Raises FeatureError."""
    present = values if values.dtype.kind in "iub" else values[np.isfinite(values)]
    if not len(present):
        raise FeatureError(column.name, "is missing in every training row; expected numbers. Leave it out with kind = 'ignored'.")
    boundaries = spec.boundaries or _quantiles(np.sort(present), spec.quantiles or 2)
    size = len(boundaries) + 2
    return FittedBuckets(
        column=column.name,
        integer=values.dtype.kind in "iub",
        boundaries=boundaries,
        missing=len(present) < len(values),
        dimension=None if spec.encoding == "one_hot" else spec.dimension or embedding_dimension(size),
    )


def _quantiles(ordered: Array, buckets: int) -> tuple[float, ...]:
    """Cut at values of the column; a value that would be a boundary twice is one once."""
    at = np.ceil(np.arange(1, buckets) / buckets * (len(ordered) - 1)).astype(np.int64)
    return tuple(np.unique(ordered[at]).tolist())
