"""What rows a model was judged by: two models can only be compared if it was by the same."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def digest_rows(inputs: Mapping[str, Array], targets: Mapping[str, Array], labels: Sequence[Sequence[str]] = ()) -> str:
    """Return the SHA-256 of the values, types and order of rows: equal for equal rows, on any machine.

    `labels` are those of each target, in their order.
    """
    digest = hashlib.sha256("".join(repr(tuple(words)) for words in labels).encode())
    for name, array in (*sorted(inputs.items()), *(("targets", array) for array in targets.values())):
        digest.update(repr((name, array.shape)).encode())
        digest.update(_plain(array))
    return digest.hexdigest()


def _plain(array: Array) -> bytes:
    if array.dtype.kind in "OSU":
        return repr(array.tolist()).encode()
    little_endian = array.astype(array.dtype.newbyteorder("<"))
    return little_endian.dtype.str.encode() + little_endian.tobytes()
