"""Strings in ONNX: what can be done exactly with them on every machine.

ai.onnx splits no strings before opset 20, and tf2onnx writes at most 18, so `Tokenizer` is onnxruntime's own (domain
`com.microsoft`, in every build of it). A pattern is RE2 syntax and knows no locale. Lower-casing is done in the locale "C", the one
that every machine has: A-Z and nothing else.
"""

import numpy as np

from training.features.graph import Graph


def tokenized(graph: Graph, strings: str, pattern: str, *, filler: str = "") -> str:
    """Find all that match: strings [batch] -> strings [batch, most tokens of a row], filled with `filler` on the right."""
    tokens = graph.node("Tokenizer", strings, tokenexp=pattern, mark=0, mincharnum=1, pad_value=filler)
    return graph.strings(tokens, rank=2)


def lowercased(graph: Graph, strings: str) -> str:
    """Turn A-Z into a-z; strings [batch] -> strings [batch]."""
    return graph.node("StringNormalizer", strings, case_change_action="LOWER", locale="C")


def equal(graph: Graph, strings: str, text: str) -> str:
    """Compare with one text (`Equal` takes no strings before opset 19); strings -> BOOL of the same shape."""
    found = graph.node("LabelEncoder", strings, keys_strings=[text], values_int64s=[1], default_int64=0)
    return graph.cast(found, np.bool_)
