"""Tensors in JSON: numbers go straight into an array of the right datatype, nested or flat, in row-major order."""

from collections.abc import Sequence
from itertools import chain
from math import prod
from types import NoneType
from typing import Any, Final, Literal

import msgspec
import numpy as np
import simdjson

from service.errors import MalformedBody
from service.protocols.long_integers import as_floats
from service.protocols.nesting import COUNTED, FEW, is_walked, lists_in, lists_of, structure_in, structure_of
from service.repository.datatypes import Datatype, to_numpy

Array = np.ndarray[Any, Any]

# simdjson's buffers are of 64 bits: d(ouble), i(nteger), u(nsigned).
_BUFFERS: Final[dict[str, tuple[Literal["d", "i", "u"], Any]]] = {
    "f": ("d", np.float64),
    "i": ("i", np.int64),
    "u": ("u", np.uint64),
    "V": ("d", np.float64),
}
_EXPECTED: Final = {"f": "numbers", "i": "integers", "u": "integers", "b": "true or false", "O": "strings", "V": "numbers"}
# The types of Python that a value may have, and what a null becomes where it may be one.
_ACCEPTED: Final[dict[str, tuple[frozenset[type], Any]]] = {
    "f": (frozenset({int, float}), float("nan")),
    "i": (frozenset({int}), None),
    "u": (frozenset({int}), None),
    "b": (frozenset({bool}), None),
    "O": (frozenset({str}), ""),
    "V": (frozenset({int, float}), None),
}
_LARGEST_BFLOAT16: Final = 3.3895313892515355e38


def parse(body: bytes | bytearray) -> simdjson.Object:
    """Parse a JSON object. Raises MalformedBody if the body is anything else; NaN and Infinity are no JSON (RFC 8259)."""
    document = parse_value(body)
    if not isinstance(document, simdjson.Object):
        raise MalformedBody('The body must be a JSON object: {"inputs": [...]}.')
    return document


def parse_value(body: bytes | bytearray) -> object:
    """Parse any JSON value; an integer of more than 64 bits is a float. Raises MalformedBody."""
    try:
        return simdjson.Parser().parse(body)
    except (ValueError, RuntimeError, TypeError) as error:
        readable = as_floats(body)
        if readable is not None:
            return parse_value(readable)
        raise MalformedBody(f"The body is not valid JSON: {_parser_message(error)}") from None


def members(value: simdjson.Object | dict[str, Any], *names: str) -> list[Any]:
    """Return the members of these names, None for those that are absent: simdjson is slow only to say that one is absent."""
    present = list(value.keys())
    return [value[name] if name in present else None for name in names]


def to_array(data: object, *, datatype: Datatype, shape: tuple[int, ...], where: str) -> tuple[Array, bool]:
    """Turn a parsed JSON array, flat or nested like `shape`, into an array of `datatype` and `shape`.

    Also tells whether a null stood among the values: in floats it becomes NaN, in strings the empty one. Raises MalformedBody,
    which names the tensor as `where`, if the count differs from the shape, or a value is not of the datatype (a string in FP32,
    a fraction in INT64) or outside its range.
    """
    if not isinstance(data, simdjson.Array):
        raise MalformedBody(f"{where} has no 'data' list. Send its values as a JSON array, flat or nested.")
    _check_nesting(data, shape, where)
    try:
        flat, missing = flat_array(data, datatype)
    except ValueError:
        raise MalformedBody(f"{where} holds a value that is not of datatype {datatype}: expected {expected(datatype)}.") from None
    if flat.size != prod(shape):
        raise MalformedBody(f"{where} has {flat.size} values, but its shape {list(shape)} needs {prod(shape)}.")
    try:
        return flat.reshape(shape), missing
    except ValueError:  # no value, and sizes beyond what an array can have
        raise MalformedBody(f"{where} has the shape {list(shape)}, which no tensor can have.") from None


class WrittenTensor(msgspec.Struct, frozen=True):
    """A JSON array that was read as a tensor of `shape`; errors name it as `where`."""

    data: simdjson.Array
    shape: tuple[int, ...]
    where: str

    @property
    def nested(self) -> bool:
        """Whether it is nested like its shape, or else flat."""
        return _is_nested(self.data)

    @property
    def lists(self) -> int:
        """How many lists it has if it is as it should be."""
        return lists_of(self.shape) if self.nested else 1


def refuse_irregular(text: bytes | bytearray, tensors: Sequence[WrittenTensor], *, other_lists: int) -> None:
    """Raise MalformedBody if a tensor has lists where it should have values, `[1, [2]]`, or lists of different lengths.

    `to_array` reads values one after another, whatever lists they are in. To walk through the lists would take longer than to
    read them, so it is done only in doubt: when the JSON text has more lists than the tensors should have and the `other_lists`
    of the request, or the brackets and commas of a large tensor do not stand in it as they should. (A `[` in a string is a doubt.)
    """
    wanted = other_lists + sum(tensor.lists for tensor in tensors)
    large = [tensor.shape for tensor in tensors if tensor.nested and not is_walked(tensor.shape)]
    if _has_brackets(text, wanted) and (not large or _stand_in(text, large)):
        return
    for tensor in tensors:
        values = tensor.data.as_list()
        if not (_is_regular(values, tensor.shape) if tensor.nested else _is_regular(values, (len(values),))):
            raise MalformedBody(f"{tensor.where} is nested differently from its shape {list(tensor.shape)}.")


def _has_brackets(text: bytes | bytearray, count: int) -> bool:
    """Whether there are exactly so many `[`. A few are found faster than all bytes are counted."""
    if count > FEW:
        return lists_in(text) == count
    position = -1
    for _ in range(count):
        position = text.find(b"[", position + 1)
        if position < 0:
            return False
    return text.find(b"[", position + 1) < 0


def _stand_in(text: bytes | bytearray, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether the brackets and commas of nested tensors stand in the text, in the order of the tensors."""
    found = structure_in(text)
    position = 0
    for shape in shapes:
        skeleton = structure_of(shape)
        position = found.find(b"[" * len(shape), position)
        if position < 0 or not found.startswith(skeleton, position):
            return False
        position += len(skeleton)
    return True


def _is_regular(value: object, shape: tuple[int, ...]) -> bool:
    """Whether lists are nested as the shape says, with values in the innermost ones alone."""
    if not shape:
        return not isinstance(value, list)
    return isinstance(value, list) and len(value) == shape[0] and all(_is_regular(inner, shape[1:]) for inner in value)


def flat_array(data: simdjson.Array, datatype: Datatype) -> tuple[Array, bool]:
    """Turn a parsed JSON array, flat or nested, into a flat array, and tell whether a null stood in it.

    Raises ValueError if a value is not of the datatype or not in its range.
    """
    dtype = to_numpy(datatype)
    if dtype.kind in _BUFFERS:
        try:
            return _numbers(data, dtype), False
        except TypeError:  # a null, perhaps
            pass
        except (OverflowError, FloatingPointError, RuntimeError) as error:  # simdjson's is a RuntimeError, beyond 64 bits
            raise ValueError from error
    try:
        return from_values(flattened(data.as_list()), datatype)
    except RuntimeError as error:
        raise ValueError from error


def from_values(values: Sequence[Any], datatype: Datatype) -> tuple[Array, bool]:
    """Turn values of Python into a flat array, and tell whether there was a None. Raises ValueError like `flat_array`."""
    dtype = to_numpy(datatype)
    accepted, filler = _ACCEPTED[dtype.kind]
    kinds = set(map(type, values))
    missing = NoneType in kinds
    if not kinds - {NoneType} <= accepted or (missing and filler is None):
        raise ValueError
    if missing:
        values = [filler if value is None else value for value in values]
    wide = _BUFFERS[dtype.kind][1] if dtype.kind in _BUFFERS else dtype
    try:
        return _narrowed(np.array(values, dtype=wide), dtype), missing
    except (OverflowError, FloatingPointError) as error:
        raise ValueError from error


def expected(datatype: Datatype) -> str:
    """Say what values of a datatype look like in JSON."""
    dtype = to_numpy(datatype)
    return _EXPECTED[dtype.kind] + _range(dtype)


def flattened(values: list[Any]) -> list[Any]:
    """Return the values of nested lists in order. Raises ValueError where a value stands beside a list."""
    while list in (kinds := set(map(type, values))):
        if len(kinds) > 1:
            raise ValueError
        values = list(chain.from_iterable(values))
    return values


def from_bfloat16(array: Array) -> Array:
    """Return the floats that bfloat16 values are."""
    widened: Array = np.left_shift(array.view(np.uint16), 16, dtype=np.uint32).view(np.float32)
    return widened


def _numbers(data: simdjson.Array, dtype: np.dtype[Any]) -> Array:
    code, wide = _BUFFERS[dtype.kind]
    return _narrowed(np.frombuffer(data.as_buffer(of_type=code), dtype=wide), dtype)


def _narrowed(values: Array, dtype: np.dtype[Any]) -> Array:
    """Cast to the datatype; raise FloatingPointError or OverflowError for what it cannot hold."""
    if dtype.kind in "fV":
        with np.errstate(over="raise"):
            return _bfloat16(values.astype(np.float32), dtype) if dtype.kind == "V" else values.astype(dtype)
    if dtype.itemsize < values.itemsize and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise OverflowError
    return values.astype(dtype)


def _bfloat16(values: Array, dtype: np.dtype[Any]) -> Array:
    """Round to the nearest bfloat16, the upper half of a float's bits; ties go to even."""
    bits = values.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    if (((rounded & 0x7F80) == 0x7F80) & np.isfinite(values)).any():  # noqa: PLR2004 -- rounded up to infinity
        raise OverflowError
    return rounded.view(dtype)


def _check_nesting(data: simdjson.Array, shape: tuple[int, ...], where: str) -> None:
    """Compare the lengths of the lists with the shape: a flat list as a whole, nested ones level by level.

    Many short lists are left to `refuse_irregular`.
    """
    if not _is_nested(data):
        if len(data) != prod(shape) and len(data) < COUNTED:
            raise MalformedBody(f"{where} has {len(data)} values, but its shape {list(shape)} needs {prod(shape)}.")
        return
    if not is_walked(shape):
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
