"""Tensors as raw bytes: little-endian, row-major, no padding; a string is its length in 4 bytes and its UTF-8.

Rules: Triton's binary tensor data extension, docs/protocol/extension_binary_data.md. The protocol's gRPC form has the same bytes
in its raw contents.
"""

import sys
from collections.abc import Iterator
from math import prod
from typing import Any, Final

import numpy as np

from service.errors import MalformedBody
from service.repository.datatypes import DATATYPES, Datatype, to_numpy

Array = np.ndarray[Any, Any]

_WRITTEN: Final = {datatype: to_numpy(datatype).newbyteorder("<") for datatype in DATATYPES}
_LITTLE_ENDIAN: Final = sys.byteorder == "little"
_FEW: Final = 4096  # bytes
_LENGTH: Final = 4  # bytes before each string


def to_array(data: memoryview, *, datatype: Datatype, shape: tuple[int, ...], where: str) -> Array:
    """Read a tensor. The array is a read-only view of `data`, unless that lies where such numbers may not lie in memory.

    Raises MalformedBody, which names the tensor as `where`, if the number of bytes differs from what shape and datatype need, a
    boolean is neither 0 nor 1, or a string is no UTF-8.
    """
    flat = _strings(data, prod(shape), where) if datatype == "BYTES" else _numbers(data, datatype, shape, where)
    try:
        return flat.reshape(shape)
    except ValueError:  # no value, and sizes beyond what an array can have
        raise MalformedBody(f"{where} has the shape {list(shape)}, which no tensor can have.") from None


def to_bytes(array: Array) -> memoryview | bytes:
    """Write a tensor. Numbers that lie in order are not copied, but for so few that a view costs more."""
    dtype = array.dtype
    if dtype.kind == "O":
        return b"".join(_lengths_and_strings(array))
    if dtype.isnative != _LITTLE_ENDIAN:
        array = array.astype(dtype.newbyteorder("<"))
    if array.nbytes <= _FEW:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _numbers(data: memoryview, datatype: Datatype, shape: tuple[int, ...], where: str) -> Array:
    dtype = _WRITTEN[datatype]
    if len(data) != prod(shape) * dtype.itemsize:
        raise MalformedBody(
            f"{where} has {len(data)} bytes of data, but {datatype} of shape {list(shape)} needs {prod(shape) * dtype.itemsize}."
        )
    if datatype == "BOOL" and (np.frombuffer(data, dtype=np.uint8) > 1).any():
        raise MalformedBody(f"{where} holds a byte that is not of datatype BOOL: expected 0 or 1.")
    array: Array = np.frombuffer(data, dtype=dtype)
    flags = array.flags
    if not flags.aligned or not dtype.isnative:
        array = array.copy() if dtype.isnative else array.astype(to_numpy(datatype))
        flags = array.flags
    if flags.writeable:
        flags.writeable = False
    return array


def _strings(data: memoryview, count: int, where: str) -> Array:
    """Read strings until the bytes are used up, so that memory follows from the bytes, not from the shape."""
    values: list[str] = []
    position = 0
    while position < len(data):
        start = position + _LENGTH
        position = start + int.from_bytes(data[position:start], "little")
        if start > len(data) or position > len(data):
            raise MalformedBody(
                f"{where} is cut off in string {len(values)}: expected 4 bytes of length, little-endian, and so many."
            )
        try:
            values.append(str(data[start:position], "utf-8"))
        except UnicodeDecodeError:
            raise MalformedBody(f"{where} holds in string {len(values)} bytes that are no UTF-8; models take text.") from None
    if len(values) != count:
        raise MalformedBody(f"{where} has {len(values)} strings, but its shape needs {count}.")
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _lengths_and_strings(array: Array) -> Iterator[bytes]:
    for value in array.flat:
        encoded = value.encode() if isinstance(value, str) else bytes(value)
        yield len(encoded).to_bytes(_LENGTH, "little")
        yield encoded
