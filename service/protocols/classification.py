"""The classification extension: instead of an output's values, its best classes as text, `<value>:<index>[:<label>]`.

Rule: Triton's docs/protocol/extension_classification.md.
"""

from typing import Any

import numpy as np

from service.errors import InvalidRequest
from service.repository.signature import TensorSpec

Array = np.ndarray[Any, Any]


def classes(array: Array, spec: TensorSpec, count: int) -> Array:
    """Return for each row of an output its `count` largest values, the largest first, as strings of shape [rows, count].

    An output without batch axis gives [count]. No more are given than a row has; NaN comes last. Raises InvalidRequest for an
    output that has no numbers.
    """
    if array.dtype.kind not in "fiu":
        raise InvalidRequest(f"Output '{spec.name}' is of datatype {spec.datatype}; only numbers can be classified.")
    batched = array.ndim > 0 and spec.shape[:1] == (-1,)
    rows = array.reshape(len(array) if batched else 1, -1)
    labels = spec.labels if len(spec.labels) == rows.shape[1] else ()
    best = _largest(rows, count)
    values = [[_text(row[index], index, labels) for index in order.tolist()] for row, order in zip(rows, best, strict=True)]
    result = np.empty(best.shape, dtype=object)
    result[...] = values
    return result if batched else result[0]


def _largest(rows: Array, count: int) -> Array:
    """Return the positions of the largest values of each row; of equal ones the first comes first."""
    if rows.dtype.kind == "f":
        return np.argsort(-rows, axis=1, kind="stable")[:, :count]
    last = rows.shape[1] - 1
    backwards = np.argsort(rows[:, ::-1], axis=1, kind="stable")[:, ::-1]
    best: Array = last - backwards[:, :count]
    return best


def _text(value: Any, index: int, labels: tuple[str, ...]) -> str:  # noqa: ANN401 -- a numpy scalar
    number = f"{value:f}" if value.dtype.kind == "f" else str(value)
    return f"{number}:{index}:{labels[index]}" if labels else f"{number}:{index}"
