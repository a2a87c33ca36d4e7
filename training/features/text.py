"""Texts as token ids, or as counts of the tokens that training saw."""

import itertools
from collections import Counter
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct

from service.repository.signature import TensorSpec
from training.errors import FeatureError
from training.features.encoding import embedding_dimension
from training.features.graph import Graph
from training.features.running import evaluate
from training.features.tokens import lowercased, tokenized
from training.spec.features import TextSpec

PADDING: Final = 0
UNKNOWN: Final = 1
_SPECIAL: Final = 2
_PAIR: Final = 2

Array = np.ndarray[Any, Any]
Gram = tuple[str, ...]


class FittedText(Struct, frozen=True, kw_only=True, tag_field="kind", tag="text"):
    """`vocabulary` holds the tokens kept, then the pairs kept, the most frequent first; `weights` has a factor of each feature.

    As ids, the place in the vocabulary is counted from 2: 0 fills the row up to `length`, 1 stands for any other token.
    """

    column: str
    encoding: Literal["ids", "counts", "binary", "tfidf"]
    pattern: str
    lowercase: bool
    vocabulary: tuple[Gram, ...]
    weights: tuple[float, ...]
    length: int
    dimension: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """One feature a token or pair, or none if the column is embedded."""
        return () if self.encoding == "ids" else tuple(f"{self.column}:{' '.join(gram)}" for gram in self.vocabulary)

    @property
    def output(self) -> TensorSpec | None:
        """The ids, INT64 [-1, length], if the column is embedded."""
        if self.encoding != "ids":
            return None
        last = len(self.vocabulary) + _SPECIAL - 1
        return TensorSpec(name=f"{self.column}_ids", datatype="INT64", shape=(-1, self.length), value_range=(0, last))

    def build(self, graph: Graph, raw: str) -> str:
        """Give FP32 [batch, len(names)], or INT64 ids [batch, length]."""
        tokens = _tokens(graph, raw, self.pattern, lowercase=self.lowercase)
        return self._ids(graph, raw, tokens) if self.encoding == "ids" else self._counts(graph, tokens)

    def _ids(self, graph: Graph, raw: str, tokens: str) -> str:
        ids = graph.node(
            "LabelEncoder",
            tokens,
            keys_strings=["", *(token for (token,) in self.vocabulary)],
            values_int64s=[PADDING, *range(_SPECIAL, len(self.vocabulary) + _SPECIAL)],
            default_int64=UNKNOWN,
        )
        length, columns = graph.constant([self.length], np.int64), graph.constant([1], np.int64)
        shape = graph.node("Concat", graph.node("Shape", raw), length, axis=0)
        filled = graph.node("Concat", ids, graph.node("Expand", graph.constant(PADDING, np.int64), shape), axis=1)
        return graph.node("Slice", filled, graph.constant([0], np.int64), length, columns)

    def _counts(self, graph: Graph, tokens: str) -> str:
        single = [gram for gram in self.vocabulary if len(gram) < _PAIR]
        pairs = self.vocabulary[len(single) :]
        counts = graph.node(
            "TfIdfVectorizer",
            tokens,
            mode="TF",
            min_gram_length=1,
            max_gram_length=_PAIR if pairs else 1,
            max_skip_count=0,
            ngram_counts=[0, len(single)] if pairs else [0],
            ngram_indexes=list(range(len(self.vocabulary))),
            pool_strings=[token for gram in self.vocabulary for token in gram],
        )
        if self.encoding == "counts":
            return counts
        if self.encoding == "binary":
            return graph.node("Min", counts, graph.constant(1, np.float32))
        return graph.node("Mul", counts, graph.constant(self.weights, np.float32))


def fit_text(column: TensorSpec, spec: TextSpec, values: Array) -> FittedText:
    """Count the tokens of training rows [rows], found by the operators that will find them when served. Raises FeatureError."""
    found = TensorSpec(name="tokens", datatype="BYTES", shape=(-1, -1))
    try:
        rows = evaluate(lambda graph, raw: _tokens(graph, raw, spec.pattern, lowercase=spec.lowercase), column, values, found)
    except Exception as error:  # onnxruntime raises a class for each of its status codes, all of them plain Exceptions
        raise FeatureError(column.name, f"cannot be split by pattern = {spec.pattern!r}; expected RE2 syntax. {error}") from error
    grams = [_grams(row, spec.ngrams) for row in rows.tolist()]
    counts = Counter(gram for row in grams for gram in row)
    frequent = sorted((gram for gram, count in counts.items() if count >= spec.min_count), key=lambda gram: (-counts[gram], gram))
    vocabulary = tuple(sorted(frequent[: spec.max_size], key=len))
    if not vocabulary:
        most = max(counts.values(), default=0)
        raise FeatureError(
            column.name,
            f"has no token for its vocabulary: the most frequent occurs {most} times; expected min_count = {spec.min_count}. "
            "Lower min_count, change the pattern, or leave the column out with kind = 'ignored'.",
        )
    containing = Counter(gram for row in grams for gram in set(row))
    ids = spec.encoding == "ids"
    return FittedText(
        column=column.name,
        encoding=spec.encoding,
        pattern=spec.pattern,
        lowercase=spec.lowercase,
        vocabulary=vocabulary,
        weights=_weights(vocabulary, containing, len(grams)) if spec.encoding == "tfidf" else (),
        length=spec.length or 0,
        dimension=spec.dimension or embedding_dimension(len(vocabulary) + _SPECIAL) if ids else None,
    )


def _tokens(graph: Graph, raw: str, pattern: str, *, lowercase: bool) -> str:
    return tokenized(graph, lowercased(graph, raw) if lowercase else raw, pattern)


def _grams(row: list[str], longest: int) -> list[Gram]:
    tokens = [token for token in row if token]
    pairs = itertools.pairwise(tokens) if longest == _PAIR else ()
    return [*((token,) for token in tokens), *pairs]


def _weights(vocabulary: tuple[Gram, ...], containing: Counter[Gram], rows: int) -> tuple[float, ...]:
    """Inverse document frequency, smoothed as in scikit-learn: ln((1 + rows) / (1 + rows with it)) + 1."""
    return tuple(float(np.log((1 + rows) / (1 + containing[gram])) + 1) for gram in vocabulary)
