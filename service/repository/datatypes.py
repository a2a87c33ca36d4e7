"""Tensor datatypes by their Open Inference Protocol names, with their numpy types; how many axes a tensor may have."""

from typing import Final, Literal, get_args

import numpy as np

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16"
]
DATATYPES: Final[tuple[Datatype, ...]] = get_args(Datatype)
MAX_RANK: Final = 32  # axes that a tensor of a client may have

# BYTES is a numpy object array of str, as onnxruntime takes and gives strings. numpy has no bfloat16: a BF16 value is the two bytes
# of it, which no other datatype is, so that it is never taken for a number of 16 bits.
_NUMPY: Final[dict[Datatype, np.dtype[np.generic]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
    "BF16": np.dtype("V2"),
}
_FROM_NUMPY: Final = {dtype: name for name, dtype in _NUMPY.items()}


def to_numpy(datatype: Datatype) -> np.dtype[np.generic]:
    """Return the numpy type that holds `datatype`; BYTES is `object`, BF16 two bytes."""
    return _NUMPY[datatype]


def from_numpy(dtype: np.dtype[np.generic]) -> Datatype:
    """Return the protocol's name of a numpy type; any string or object type is BYTES. Raises KeyError for others."""
    if dtype.kind in "OSU":
        return "BYTES"
    return _FROM_NUMPY[dtype]
