"""Tensors in JSON: numbers go straight into an array of the right datatype, nested or flat, in row-major order."""

from collections.abc import Callable
from math import prod
from typing import Any, Final, Literal

import numpy as np
import simdjson

from service.errors import MalformedBody
from service.repository.datatypes import Datatype, to_numpy

Array = np.ndarray[Any, Any]

# simdjson's buffers are of 64 bits: d(ouble), i(nteger), u(nsigned).
_BUFFERS: Final[dict[str, tuple[Literal["d", "i", "u"], Any]]] = {
    "f": ("d", np.float64),
    "i": ("i", np.int64),
    "u": ("u", np.uint64),
}
_EXPECTED: Final = {"f": "numbers", "i": "integers", "u": "integers", "b": "true or false", "O": "strings", "V": "numbers"}
# What may stand beside a null, and what the null becomes.
_MISSING: Final[dict[str, tuple[tuple[type, ...], Any]]] = {"f": ((int, float), float("nan")), "O": ((str,), "")}
_LARGEST_BFLOAT16: Final = 3.3895313892515355e38
_NESTING_CHECKED = 4096
_COUNTED = 0xFFFFFF  # simdjson counts the items of a list no further


def parse(body: bytes) -> simdjson.Object:
    """Parse a JSON object. Raises MalformedBody if the body is anything else; NaN and Infinity are no JSON (RFC 8259)."""
    try:
        document = simdjson.Parser().parse(body)
    except (ValueError, RuntimeError, TypeError) as error:
        raise MalformedBody(f"The body is not valid JSON: {_parser_message(error)}") from None
    if not isinstance(document, simdjson.Object):
        raise MalformedBody('The body must be a JSON object: {"inputs": [...]}.')
    return document


def to_array(data: object, *, datatype: Datatype, shape: tuple[int, ...], where: str) -> tuple[Array, bool]:
    """Turn a parsed JSON array, flat or nested like `shape`, into an array of `datatype` and `shape`.

    Also tells whether a null stood among the values: in floats it becomes NaN, in strings the empty one. Raises MalformedBody,
    which names the tensor as `where`, if the count differs from the shape, or a value is not of the datatype (a string in FP32,
    a fraction in INT64) or outside its range.
    """
    if not isinstance(data, simdjson.Array):
        raise MalformedBody(f"{where} has no 'data' list. Send its values as a JSON array, flat or nested.")
    _check_nesting(data, shape, where)
    dtype = to_numpy(datatype)
    missing = False
    try:
        try:
            flat = _FLAT[dtype.kind](data, dtype)
        except TypeError:
            flat = _with_missing(data, dtype)
            missing = True
    except (TypeError, ValueError, OverflowError, FloatingPointError):
        raise MalformedBody(
            f"{where} holds a value that is not of datatype {datatype}: expected {_EXPECTED[dtype.kind]}{_range(dtype)}."
        ) from None
    if flat.size != prod(shape):
        raise MalformedBody(f"{where} has {flat.size} values, but its shape {list(shape)} needs {prod(shape)}.")
    try:
        return flat.reshape(shape), missing
    except ValueError:  # no value, and sizes beyond what an array can have
        raise MalformedBody(f"{where} has the shape {list(shape)}, which no tensor can have.") from None


def _numbers(data: simdjson.Array, dtype: np.dtype[Any]) -> Array:
    code, wide = _BUFFERS[dtype.kind]
    values: Array = np.frombuffer(data.as_buffer(of_type=code), dtype=wide)
    if dtype.kind == "f":
        with np.errstate(over="raise"):
            return values.astype(dtype)
    if dtype.itemsize < values.itemsize and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise OverflowError
    return values.astype(dtype)


def _bfloat16(data: simdjson.Array, dtype: np.dtype[Any]) -> Array:
    """Round to the nearest bfloat16, the upper half of a float's bits; ties go to even."""
    bits = _numbers(data, np.dtype(np.float32)).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    if ((rounded & 0x7F80) == 0x7F80).any():  # noqa: PLR2004 -- rounded up to infinity
        raise OverflowError
    return rounded.view(dtype)


def from_bfloat16(array: Array) -> Array:
    """Return the floats that bfloat16 values are."""
    widened: Array = np.left_shift(array.view(np.uint16), 16, dtype=np.uint32).view(np.float32)
    return widened


def _with_missing(data: simdjson.Array, dtype: np.dtype[Any]) -> Array:
    """Read floats or strings with at least one null among them; raise TypeError for anything else."""
    if dtype.kind not in _MISSING:
        raise TypeError
    values = _flattened(data.as_list())
    accepted, filler = _MISSING[dtype.kind]
    if None not in values or not all(value is None or type(value) in accepted for value in values):
        raise TypeError
    with np.errstate(over="raise"):
        return np.array([filler if value is None else value for value in values], dtype=np.float64 if filler else object).astype(
            dtype
        )


def _booleans(data: simdjson.Array, dtype: np.dtype[Any]) -> Array:
    values = _flattened(data.as_list())
    if not all(value is True or value is False for value in values):
        raise TypeError
    return np.array(values, dtype=dtype)


def _strings(data: simdjson.Array, dtype: np.dtype[Any]) -> Array:
    values = _flattened(data.as_list())
    if not all(isinstance(value, str) for value in values):
        raise TypeError
    return np.array(values, dtype=dtype)


_FLAT: Final[dict[str, Callable[[simdjson.Array, np.dtype[Any]], Array]]] = {
    "f": _numbers,
    "i": _numbers,
    "u": _numbers,
    "b": _booleans,
    "O": _strings,
    "V": _bfloat16,
}


def _flattened(values: list[Any]) -> list[Any]:
    while any(isinstance(value, list) for value in values):
        if not all(isinstance(value, list) for value in values):
            raise TypeError
        values = [inner for value in values for inner in value]
    return values


def _check_nesting(data: simdjson.Array, shape: tuple[int, ...], where: str) -> None:
    """Compare the lengths of the lists with the shape: a flat list as a whole, nested ones level by level.

    Where a level has more than some thousands of lists, the total count decides from there on.
    """
    if not _is_nested(data):
        if len(data) != prod(shape) and len(data) < _COUNTED:
            raise MalformedBody(f"{where} has {len(data)} values, but its shape {list(shape)} needs {prod(shape)}.")
        return
    level, lists = [data], 1
    for depth, size in enumerate(shape, start=1):
        if len(level) != lists or any(len(item) != size for item in level):
            break
        if depth == len(shape):
            if any(_is_nested(item) for item in level):
                break
            return
        lists *= size
        if lists > _NESTING_CHECKED:
            return
        level = [inner for item in level for inner in item if isinstance(inner, simdjson.Array)]
    raise MalformedBody(f"{where} is nested differently from its shape {list(shape)}.")


def _is_nested(data: simdjson.Array) -> bool:
    return len(data) > 0 and isinstance(data[0], simdjson.Array)


def _range(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return f" from {limits.min} to {limits.max}"
    if dtype.kind == "V":
        return f" up to {_LARGEST_BFLOAT16:g}"
    return f" up to {np.finfo(dtype).max:g}" if dtype.kind == "f" else ""


def _parser_message(error: Exception) -> str:
    text = str(error)
    return text.split(":", 1)[1].strip() if text.isascii() and ":" in text else text
