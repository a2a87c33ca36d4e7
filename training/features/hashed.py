"""Strings and integers as hash buckets."""

from typing import Any

import numpy as np
from msgspec import Struct

from service.repository.signature import TensorSpec
from training.features.encoding import embedding_dimension, ids_output, one_hot
from training.features.graph import Graph
from training.features.hashing import alphabet_of, hashed_integers, hashed_strings
from training.features.tokens import equal
from training.spec.features import HashedSpec

Array = np.ndarray[Any, Any]


class FittedHash(Struct, frozen=True, kw_only=True, tag_field="kind", tag="hashed"):
    """Ids below `buckets` are hashes; the id `buckets` is the missing string, with a one-hot feature if training saw one."""

    column: str
    string: bool
    buckets: int
    salt: int
    missing: bool
    alphabet: str
    dimension: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """One feature a bucket, or none if the column is embedded."""
        if self.dimension is not None:
            return ()
        last = [f"{self.column}=<missing>"] if self.missing else []
        return (*(f"{self.column}#{bucket}" for bucket in range(self.buckets)), *last)

    @property
    def output(self) -> TensorSpec | None:
        """The ids, if the column is embedded."""
        return None if self.dimension is None else ids_output(self.column, self.buckets + self.string)

    def build(self, graph: Graph, raw: str) -> str:
        """Give FP32 [batch, len(names)], or INT64 ids [batch]."""
        if self.string:
            hashes = hashed_strings(graph, raw, self.alphabet, self.buckets, self.salt)
            ids = graph.node("Where", equal(graph, raw, ""), graph.constant(self.buckets, np.int64), hashes)
        else:
            ids = hashed_integers(graph, graph.cast(raw, np.int64), self.buckets, self.salt)
        return one_hot(graph, ids, len(self.names)) if self.dimension is None else ids


def fit_hash(column: TensorSpec, spec: HashedSpec, values: Array) -> FittedHash:
    """Note the alphabet of the training rows, strings or integers [rows]."""
    string = column.datatype == "BYTES"
    return FittedHash(
        column=column.name,
        string=string,
        buckets=spec.buckets,
        salt=spec.salt,
        missing=string and bool((values == "").any()),
        alphabet=alphabet_of(values.tolist()) if string else "",
        dimension=None if spec.encoding == "one_hot" else spec.dimension or embedding_dimension(spec.buckets),
    )
