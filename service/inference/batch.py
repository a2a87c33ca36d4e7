"""Merging the inputs of several requests into one run, and splitting its outputs again. Pure functions."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def merge(requests: Sequence[Sequence[Array]]) -> list[Array]:
    """Concatenate along the first axis, tensor by tensor. All have the same tensors, datatypes and other axes."""
    if len(requests) == 1:
        return list(requests[0])
    return [np.concatenate(arrays, axis=0) for arrays in zip(*requests, strict=True)]


def padded(inputs: Sequence[Array], rows: int) -> list[Array]:
    """Add `rows` copies of the last row, which any model that took the row can take again."""
    return [np.concatenate([array, np.repeat(array[-1:], rows, axis=0)]) for array in inputs]


def split(outputs: Sequence[Array], rows: Sequence[int], *, padding: int = 0) -> list[list[Array]]:
    """Cut each output along its first axis into pieces of `rows`, and `padding` rows for nobody; the pieces are views, not copies.

    Raises ValueError if an output does not have one row for each input row.
    """
    total = sum(rows) + padding
    for output in outputs:
        if output.ndim == 0 or output.shape[0] != total:
            raise ValueError(f"the model gave an output of shape {list(output.shape)} for {total} input rows")
    return [[output[start:stop] for output in outputs] for start, stop in _ranges(rows)]


def chunks(inputs: Sequence[Array], rows: int, limit: int) -> list[list[Array]]:
    """Cut a request of `rows` rows into pieces of at most `limit` rows."""
    return [[array[start : start + limit] for array in inputs] for start in range(0, rows, limit)]


def _ranges(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for count in rows:
        yield start, start + count
        start += count
