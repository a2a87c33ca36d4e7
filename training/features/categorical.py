"""Strings, integers and other exact values as places in a vocabulary."""

from collections import Counter
from typing import Any, Final

import numpy as np
from msgspec import Struct

from service.repository.datatypes import Datatype
from service.repository.signature import TensorSpec
from training.errors import FeatureError
from training.features.encoding import embedding_dimension, ids_output, one_hot
from training.features.graph import Graph
from training.features.hashing import alphabet_of, hashed_integers, hashed_strings
from training.features.running import evaluate
from training.features.tokens import lowercased
from training.spec.features import CategoricalSpec

_KEYS: Final[dict[Datatype, str]] = {"BYTES": "keys_strings", "FP32": "keys_floats"}
_UNKNOWN: Final = -1

Array = np.ndarray[Any, Any]
Value = str | int | float


class FittedCategories(Struct, frozen=True, kw_only=True, tag_field="kind", tag="categorical"):
    """The id of a value is its place in `vocabulary`; then comes the missing value, if training saw one, then the other values.

    Without a training row outside the vocabulary (`other` false), other values have no one-hot feature, whose weights would be left
    at random, but zeros. An embedding always has rows for them. A missing value that training never saw is one of the others.
    """

    column: str
    datatype: Datatype
    vocabulary: tuple[Value, ...]
    missing: bool
    other: bool
    oov_buckets: int
    lowercase: bool
    alphabet: str
    dimension: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """One feature a value, or none if the column is embedded."""
        if self.dimension is not None:
            return ()
        values = [f"{self.column}={_shown(value)}" for value in self.vocabulary]
        missing = [f"{self.column}=<missing>"] if self.missing else []
        others = [f"{self.column}=<other{f' {index}' if index else ''}>" for index in range(self.oov_buckets)]
        return (*values, *missing, *(others if self.other else []))

    @property
    def output(self) -> TensorSpec | None:
        """The ids, if the column is embedded."""
        return None if self.dimension is None else ids_output(self.column, self._others + self.oov_buckets)

    @property
    def _others(self) -> int:
        """The first id of values outside the vocabulary."""
        return len(self.vocabulary) + self.missing

    def build(self, graph: Graph, raw: str) -> str:
        """Give FP32 [batch, len(names)], or INT64 ids [batch]."""
        values = self._comparable(graph, raw)
        ids = self._looked_up(graph, values)
        if self.oov_buckets > 1:
            hashed = self._hashed(graph, values)
            unknown = graph.node("Less", ids, graph.constant(0, np.int64))
            others = graph.node("Add", hashed, graph.constant(self._others, np.int64))
            ids = graph.node("Where", unknown, others, ids)
        return one_hot(graph, ids, len(self.names)) if self.dimension is None else ids

    def _comparable(self, graph: Graph, raw: str) -> str:
        if self.datatype == "BYTES":
            return lowercased(graph, raw) if self.lowercase else raw
        return raw if self.datatype in ("INT64", "FP32") else graph.cast(raw, np.int64)

    def _looked_up(self, graph: Graph, values: str) -> str:
        """Give the ids; values to be hashed get -1."""
        missing = len(self.vocabulary)  # the first of the others, where training saw none
        strings = self.datatype == "BYTES"
        ids = graph.node(
            "LabelEncoder",
            values,
            **{_KEYS.get(self.datatype, "keys_int64s"): [*self.vocabulary, *([""] if strings else [])]},
            values_int64s=[*range(len(self.vocabulary)), *([missing] if strings else [])],
            default_int64=_UNKNOWN if self.oov_buckets > 1 else self._others,
        )
        if self.datatype != "FP32":
            return ids
        absent = graph.node("Or", graph.node("IsNaN", values), graph.node("IsInf", values))
        return graph.node("Where", absent, graph.constant(missing, np.int64), ids)

    def _hashed(self, graph: Graph, values: str) -> str:
        if self.datatype == "BYTES":
            return hashed_strings(graph, values, self.alphabet, self.oov_buckets, salt=0)
        return hashed_integers(graph, values, self.oov_buckets, salt=0)


def fit_categories(column: TensorSpec, spec: CategoricalSpec, values: Array) -> FittedCategories:
    """Count the values of training rows [rows]. Raises FeatureError if none is frequent enough."""
    if column.datatype == "FP32" and spec.oov_buckets > 1:
        raise FeatureError(column.name, "holds floats; oov_buckets above 1 expects strings or integers. Take oov_buckets = 1.")
    if spec.lowercase and column.datatype != "BYTES":
        raise FeatureError(column.name, "holds numbers; lowercase expects strings. Leave it out.")
    if spec.lowercase:
        values = evaluate(lowercased, column, values, column)
    counts: Counter[Value] = Counter(values.tolist())
    present = {value: count for value, count in counts.items() if not _absent(value)}
    frequent = sorted((value for value, count in present.items() if count >= spec.min_count), key=lambda v: (-present[v], v))
    vocabulary = tuple(frequent[: spec.max_size])
    if not present:
        raise FeatureError(column.name, "is missing in every training row; expected values. Leave it out with kind = 'ignored'.")
    if not vocabulary:
        most = max(present.values(), default=0)
        raise FeatureError(
            column.name,
            f"has no value for its vocabulary: the most frequent has {most} training rows; expected min_count = {spec.min_count}. "
            "Lower min_count, or leave the column out with kind = 'ignored'.",
        )
    missing = len(present) < len(counts)
    size = len(vocabulary) + missing + spec.oov_buckets
    return FittedCategories(
        column=column.name,
        datatype=column.datatype,
        vocabulary=vocabulary,
        missing=missing,
        other=len(vocabulary) < len(present),
        oov_buckets=spec.oov_buckets,
        lowercase=spec.lowercase,
        alphabet=alphabet_of(map(str, present)) if spec.oov_buckets > 1 and column.datatype == "BYTES" else "",
        dimension=None if spec.encoding == "one_hot" else spec.dimension or embedding_dimension(size),
    )


def _absent(value: Value) -> bool:
    return value == "" or (isinstance(value, float) and not np.isfinite(value))


def _shown(value: Value) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
