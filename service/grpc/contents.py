"""Typed tensor contents, one repeated field of the message for each family of datatypes.

FP16 and BF16 have no field: the protocol knows them in raw form only.
"""

from math import prod
from typing import Any, Final

import numpy as np

from service.errors import MalformedBody
from service.grpc.messages import Message
from service.repository.datatypes import Datatype, to_numpy

Array = np.ndarray[Any, Any]

_FIELDS: Final[dict[str, str]] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def to_array(contents: Message, *, datatype: Datatype, shape: tuple[int, ...], where: str) -> Array:
    """Read a tensor. Raises MalformedBody, which names it as `where`, if the contents are not those of datatype and shape."""
    field = _FIELDS.get(datatype)
    if field is None:
        raise MalformedBody(f"{where} is of datatype {datatype}, which has no typed contents. Send it in raw_input_contents.")
    for other, _ in contents.ListFields():
        if other.name != field:
            raise MalformedBody(f"{where} of datatype {datatype} has its values in {other.name}; expected them in {field}.")
    values = getattr(contents, field)
    if len(values) != prod(shape):
        raise MalformedBody(f"{where} has {len(values)} values, but its shape {list(shape)} needs {prod(shape)}.")
    flat = _strings(values, where) if datatype == "BYTES" else _numbers(values, datatype, where)
    try:
        return flat.reshape(shape)
    except ValueError:  # no value, and sizes beyond what an array can have
        raise MalformedBody(f"{where} has the shape {list(shape)}, which no tensor can have.") from None


def fill(contents: Message, array: Array, datatype: Datatype) -> None:
    """Write a tensor; one without typed contents is left out."""
    field = _FIELDS.get(datatype)
    if field is not None:
        values = array.ravel().tolist()
        getattr(contents, field).extend(map(_encoded, values) if datatype == "BYTES" else values)


def _numbers(values: Any, datatype: Datatype, where: str) -> Array:  # noqa: ANN401 -- a repeated field
    dtype = to_numpy(datatype)
    wide = np.array(values)  # of the field's own type
    array = wide.astype(dtype)
    if dtype.itemsize < wide.itemsize and (array != wide).any():
        raise MalformedBody(f"{where} holds a value that is not of datatype {datatype}, of {dtype.itemsize * 8} bits.")
    return array


def _strings(values: Any, where: str) -> Array:  # noqa: ANN401 -- a repeated field
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        try:
            array[index] = value.decode()
        except UnicodeDecodeError:
            raise MalformedBody(f"{where} holds in string {index} bytes that are no UTF-8; models take text.") from None
    return array


def _encoded(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
