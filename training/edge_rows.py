"""Rows that real data rarely has: nothing but zeros, the smallest and the largest values, very large ones, unseen strings."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from service.repository.datatypes import to_numpy
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]

_FLOATS: Final = ("FP16", "FP32", "FP64")
_LARGE: Final = 1000  # times a usual value: saturates every activation, far from overflow
_STRINGS: Final = ("", "\N{SNOWMAN} never seen")
_RANDOM_TEXT: Final = ("a", "b", "c")


def edge_rows(signature: Signature, rows: Tensors) -> dict[str, Array]:
    """Return four rows: zeros, smallest values, largest values, unseen; integers stay between the smallest and largest known."""
    return {spec.name: np.concatenate([_edge(spec, rows[spec.name], which) for which in range(4)]) for spec in signature.inputs}


def _edge(spec: TensorSpec, rows: Array, which: int) -> Array:
    shape = (1, *rows.shape[1:])
    if rows.dtype == object:
        return np.full(shape, _STRINGS[which % 2], dtype=object)
    low, high = spec.value_range or _extremes(rows)
    if spec.datatype not in _FLOATS and not low <= 0 <= high:
        return np.full(shape, (low, low, high, high)[which], dtype=rows.dtype)
    return np.full(shape, (0, low, high, 0)[which], dtype=rows.dtype)


def large_rows(signature: Signature, rows: Tensors) -> dict[str, Array]:
    """Return the first two rows with their numbers a thousand times as large, the second negated; ids and strings stay."""
    found = {}
    for spec in signature.inputs:
        first = np.resize(rows[spec.name], (2, *rows[spec.name].shape[1:])).copy()
        if spec.datatype in _FLOATS:
            limit = float(np.finfo(first.dtype).max) / _LARGE
            numbers = np.clip(first, -limit / _LARGE, limit / _LARGE) * _LARGE  # clipped first: a product could overflow
            first[0], first[1] = numbers[0], -numbers[1]
        found[spec.name] = first
    return found


def random_rows(signature: Signature, count: int, *, seed: int, free_axis: int = 8) -> dict[str, Array]:
    """Return plausible rows for a model whose data is unknown: within `value_range`, else 0..255 (uint8), 0..1 (ids), N(0, 1).

    Free axes other than the first get the size `free_axis`.
    """
    generator = np.random.default_rng(seed)
    return {spec.name: _random(spec, count, generator, free_axis) for spec in signature.inputs}


def _random(spec: TensorSpec, count: int, generator: np.random.Generator, free_axis: int) -> Array:
    shape = (count, *(free_axis if size == -1 else size for size in spec.shape[1:]))
    if spec.datatype == "BYTES":
        return generator.choice(np.array(_RANDOM_TEXT, dtype=object), shape)
    dtype = to_numpy(spec.datatype)
    if spec.datatype in _FLOATS:
        values = generator.uniform(*spec.value_range, shape) if spec.value_range else generator.normal(size=shape)
        return np.asarray(values).astype(dtype)
    low, high = spec.value_range or ((0, 255) if spec.datatype == "UINT8" else (0, 1))
    return generator.integers(int(low), int(high), shape, endpoint=True).astype(dtype)


def _extremes(rows: Array) -> tuple[float, float]:
    finite = rows[np.isfinite(rows)] if rows.dtype.kind == "f" else rows
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
