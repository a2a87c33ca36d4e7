"""A hash that ONNX operators compute exactly: 64-bit integer arithmetic modulo the prime p = 2**31 - 1, with no overflow.

An integer x, of any size and sign, is hashed as (a * (x mod p) + b) mod p mod buckets (Carter and Wegman, 1979). A string becomes
an integer first: the sum over its first 1024 characters of code * 1000003 ** (position + 1), modulo p. The code of a character is
its code point if it is printable ASCII or was seen in training; all others share one code.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from training.features.graph import Graph
from training.features.tokens import tokenized

PRIME: Final = 2**31 - 1
LONGEST: Final = 1024
_RADIX: Final = 1_000_003
_OTHER: Final = 0x110000
_ASCII: Final = frozenset(map(chr, range(0x20, 0x7F)))
_WEIGHTS: Final = [pow(_RADIX, position + 1, PRIME) for position in range(LONGEST)]


def alphabet_of(strings: Iterable[str]) -> str:
    """Return the characters that get codes of their own, in order."""
    return "".join(sorted(_ASCII.union(*strings)))


def hashed_integers(graph: Graph, values: str, buckets: int, salt: int) -> str:
    """INT64 [batch] -> INT64 [batch] in 0..buckets - 1."""
    a, b = pow(48271, salt + 1, PRIME), pow(69621, salt + 1, PRIME)
    small = graph.node("Mod", values, _integer(graph, PRIME))
    mixed = graph.node("Add", graph.node("Mul", small, _integer(graph, a)), _integer(graph, b))
    return graph.node("Mod", graph.node("Mod", mixed, _integer(graph, PRIME)), _integer(graph, buckets))


def hashed_strings(graph: Graph, values: str, alphabet: str, buckets: int, salt: int) -> str:
    """Strings [batch] -> INT64 [batch] in 0..buckets - 1."""
    characters = tokenized(graph, values, "(?s).")
    codes = graph.node(
        "LabelEncoder",
        characters,
        keys_strings=["", *alphabet],
        values_int64s=[0, *map(ord, alphabet)],
        default_int64=_OTHER,
    )
    start, rows = _integer(graph, [0]), _integer(graph, [1])
    codes = graph.node("Slice", codes, start, _integer(graph, [LONGEST]), rows)
    length = graph.node("Gather", graph.node("Shape", codes), rows)
    weights = graph.node("Slice", _integer(graph, _WEIGHTS), start, length)
    # onnxruntime sums 64-bit integers in floats that are exact up to 2**53 alone; 1024 terms below 2**31 stay below 2**41.
    terms = graph.node("Mod", graph.node("Mul", codes, weights), _integer(graph, PRIME))
    total = graph.node("ReduceSum", terms, rows, keepdims=0)
    return hashed_integers(graph, total, buckets, salt)


def _integer(graph: Graph, value: Any) -> str:  # noqa: ANN401 -- an integer or a list of them
    return graph.constant(value, np.int64)
