"""Tensors of JSON that say neither their shape nor their datatype: the lists give the one, the signature the other."""

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from math import prod
from typing import Any, Final, TypeGuard

import numpy as np
import simdjson

from service.errors import MalformedBody, shown
from service.protocols.json_tensors import expected, flat_array, flattened, from_values
from service.protocols.json_with_nan import parse
from service.protocols.nesting import COUNTED, is_walked, lists_in, lists_of, structure_in, structure_length, structure_of
from service.repository.datatypes import MAX_RANK, Datatype

Array = np.ndarray[Any, Any]

_LISTS: Final = (simdjson.Array, list)


class Document:
    """A parsed body. `root` is its value: lists and objects are those of simdjson, or of Python where the body has NaN in it."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = body
        self._regular: dict[tuple[int, ...], bool] = {}
        self.root = parse(body)

    def is_regular(self, shape: tuple[int, ...], data: Sequence[Any] | None = None) -> bool:
        """Whether the lists of the whole body are those of one tensor of this shape. False says nothing: there may be others.

        If the tensor is at hand and its lists are few, their lengths are asked; that copies nothing.
        """
        lists = lists_of(shape)
        if lists != self._lists:
            return False
        if data is not None and is_walked(shape):
            return _fits(data, shape, 0)
        if shape not in self._regular:
            fits = structure_length(shape) == len(self._structure)
            self._regular[shape] = fits and structure_of(shape) == self._structure
        return self._regular[shape]

    @cached_property
    def _lists(self) -> int:
        return lists_in(self._body)

    @cached_property
    def _structure(self) -> bytes | bytearray:
        return structure_in(self._body).strip(b",")


@contextmanager
def within_64_bits() -> Iterator[None]:
    """Turn what simdjson raises when it is asked for a larger integer, wherever it stands, into MalformedBody."""
    try:
        yield
    except RuntimeError:
        raise MalformedBody(
            "The body holds an integer of more than 64 bits. Write it with a decimal point if it is a float."
        ) from None


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a JSON list."""
    return isinstance(value, _LISTS)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a value is a JSON object."""
    return isinstance(value, simdjson.Object | dict)


def encoded(value: object) -> str | None:
    """Return the text of `{"b64": "<text>"}`, by which JSON carries bytes; None for any other value."""
    if not is_object(value) or len(value) != 1:
        return None
    text = value.get("b64")
    return text if isinstance(text, str) else None


def decoded(text: str, where: str) -> bytes:
    """Return the bytes of base64. Raises MalformedBody."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedBody(f"{where} is no valid base64: {shown(str(error))}.") from None


def tensor(
    data: object, datatype: Datatype, where: str, *, is_regular: Callable[[tuple[int, ...], Sequence[Any]], bool]
) -> tuple[Array, bool]:
    """Turn nested lists, or a single value, into an array of their shape; tell whether a null stood among the values.

    `where` is the place of `data` in the body, for the error. If `is_regular` knows that the lists have a shape, they are not
    looked at one by one. Raises MalformedBody with the place of the first list that is longer or shorter than its neighbours, or
    of the first value that does not fit.
    """
    if not is_list(data):
        array, missing = scalars([data], datatype, lambda _index: where)
        return array.reshape(()), missing
    shape = shape_of(data, where)
    try:
        flat, missing = _flat(data, datatype)
    except ValueError:
        if not is_regular(shape, data):
            _refuse_ragged(data, shape, where)
        flat, missing = scalars(flattened(_items(data)), datatype, lambda index: where + _place(index, shape))
    if shape[0] == COUNTED:
        shape = (flat.size // (prod(shape[1:]) or 1), *shape[1:])
    if flat.size != prod(shape) or not is_regular(shape, data):
        _refuse_ragged(data, shape, where)
    return flat.reshape(shape), missing


def shape_of(data: object, where: str) -> tuple[int, ...]:
    """Return the lengths of nested lists, as the first of each level has them. Raises MalformedBody if they are nested too deep."""
    sizes: list[int] = []
    item: Any = data
    while is_list(item):
        if len(sizes) == MAX_RANK:
            raise MalformedBody(f"{where} is nested more than {MAX_RANK} levels deep.")
        sizes.append(len(item))
        item = item[0] if len(item) else None
    return tuple(sizes)


def scalars(values: Sequence[Any], datatype: Datatype, place: Callable[[int], str]) -> tuple[Array, bool]:
    """Turn single values into a flat array; tell whether a null was among them.

    `place` says where in the body the value of an index stands. Raises MalformedBody for the first that does not fit.
    """
    if datatype == "BYTES":
        values = [_text(value, place, index) if is_object(value) else value for index, value in enumerate(values)]
    try:
        return from_values(values, datatype)
    except ValueError:
        index = _first_misfit(values, datatype)
        raise MalformedBody(f"{place(index)} is {described(values[index])}; {datatype} takes {expected(datatype)}.") from None


def described(value: object) -> str:
    """Say a value of JSON in a few words."""
    if is_list(value):
        return "a list"
    if is_object(value):
        return "an object"
    if isinstance(value, str):
        return f'"{shown(value)}"'
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return shown(str(value))


def _flat(data: Sequence[Any], datatype: Datatype) -> tuple[Array, bool]:
    if isinstance(data, simdjson.Array):
        return flat_array(data, datatype)
    return from_values(flattened(_items(data)), datatype)


def _items(data: Sequence[Any]) -> list[Any]:
    return data.as_list() if isinstance(data, simdjson.Array) else list(data)


def _text(value: Any, place: Callable[[int], str], index: int) -> str:  # noqa: ANN401 -- an object of either parser
    text = encoded(value)
    if text is None:
        raise MalformedBody(f'{place(index)} is an object; BYTES takes strings, or {{"b64": "<base64>"}}.')
    try:
        return decoded(text, place(index)).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedBody(
            f"{place(index)} holds bytes that are no UTF-8 text, which is all that the model's strings can be."
        ) from None


def _first_misfit(values: Sequence[Any], datatype: Datatype) -> int:
    """Return the index of the first value that no array of the datatype holds, by halving: at least one is such."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            from_values(values[low:middle], datatype)
        except ValueError:
            high = middle
        else:
            low = middle
    return low


def _fits(data: Sequence[Any], shape: tuple[int, ...], depth: int) -> bool:
    """Whether lists have the lengths of the shape. What stands in the innermost is not looked at."""
    if len(data) not in (shape[depth], COUNTED):
        return False
    return depth == len(shape) - 1 or all(isinstance(item, _LISTS) and _fits(item, shape, depth + 1) for item in data)


def _refuse_ragged(data: Sequence[Any], shape: tuple[int, ...], where: str) -> None:
    """Raise MalformedBody with the first place at which the lists have not this shape."""
    found = _ragged(data, shape, 0)
    if found is not None:
        path, problem = found
        place = where + "".join(f"[{index}]" for index in path)
        raise MalformedBody(f"{place} {problem}. All rows of a tensor are of the same shape.")


def _ragged(data: Sequence[Any], shape: tuple[int, ...], depth: int) -> tuple[tuple[int, ...], str] | None:
    """Return the path to the first list that has not the shape of its level, with what is wrong there."""
    if len(data) not in (shape[depth], COUNTED):
        return (), f"has {len(data)} entries where the lists before it have {shape[depth]}"
    if depth == len(shape) - 1:
        kinds = list(map(type, _items(data)))
        return ((kinds.index(list),), "is a list among values") if list in kinds else None
    for index, item in enumerate(data):
        if not isinstance(item, _LISTS):
            return (index,), f"is {described(item)} among lists"
        found = _ragged(item, shape, depth + 1)
        if found is not None:
            return (index, *found[0]), found[1]
    return None


def _place(index: int, shape: tuple[int, ...]) -> str:
    place = ""
    for size in reversed(shape[1:]):
        index, position = divmod(index, size)
        place = f"[{position}]{place}"
    return f"[{index}]{place}"
