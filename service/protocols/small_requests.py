"""Small requests of the Open Inference Protocol that are as they should be, read in one go.

A request of a few values costs what is done around them, not for them: simdjson is asked for each key and each list. Here msgspec
reads the whole of it into types. Anything else, whether a mistake or only rare, is left to `json_requests`, whose word is the
last: what is read here is read there to the same end.
"""

import re
from functools import reduce
from math import prod
from operator import or_
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from service.errors import MalformedBody
from service.protocols import binary_tensors
from service.protocols.infer_request import InferRequest, RequestedOutput
from service.protocols.json_tensors import WrittenTensor, flat_array, parse_value, refuse_irregular, to_array
from service.protocols.json_types import list_type
from service.protocols.parameters import PLAIN_REQUEST, OutputOptions, Parameters, request_options
from service.repository.datatypes import DATATYPES, Datatype, to_numpy

Array = np.ndarray[Any, Any]

_Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Name = Annotated[str, Meta(min_length=1)]
_DATA: Final = re.compile(rb'"data":\s*\[')
_NO_PARAMETERS: Final[Parameters] = {}
_OPTIONS: Final[dict[object, OutputOptions]] = {
    UNSET: OutputOptions(),
    True: OutputOptions(binary=True),
    False: OutputOptions(binary=False),
}


class _TensorParameters(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    binary_data_size: _Size | UnsetType = UNSET


class _Tensor(msgspec.Struct, gc=False):
    """An input of any datatype; those that are decoded add their `data`, and what they are made into."""

    name: _Name
    shape: Annotated[tuple[_Size, ...], Meta(max_length=8)]
    parameters: _TensorParameters | UnsetType | None = UNSET


class _OutputParameters(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    binary_data: bool | UnsetType = UNSET


class _Output(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    parameters: _OutputParameters | UnsetType | None = UNSET


class _Request(msgspec.Struct, gc=False):
    inputs: list[Any]
    id: str | UnsetType | None = UNSET
    outputs: list[_Output] | UnsetType | None = UNSET
    parameters: dict[str, str | bool | _Size] | UnsetType | None = UNSET


def read(text: bytes | bytearray, rest: memoryview | None) -> InferRequest | None:
    """Read the JSON of a request, with the binary tensors behind it. None if there is anything in it that is not usual.

    Of two keys of one name msgspec takes the last and simdjson the first, so the colons are counted: one for each key.
    """
    return _read(text, rest, None)


def read_apart(text: bytes | bytearray) -> InferRequest | None:
    """Read the JSON of a request of one tensor: its values by simdjson, all around them as `read` does. None as there.

    The values reach from the `[` after "data" to the last `]` before the next `}`. If these are not their ends, what is between
    them is no JSON, or what is around them.
    """
    start = _DATA.search(text)
    if start is None:
        return None
    first = start.end() - 1
    after = text.rfind(b"]", first, text.find(b"}", first)) + 1
    values = text[first:after]
    return _read(text[:first] + b"[]" + text[after:], None, values) if values else None


def _read(text: bytes | bytearray, rest: memoryview | None, values: bytes | bytearray | None) -> InferRequest | None:
    """Read a request; `values` are those of its only tensor if they are not in the text, where an empty list stands for them."""
    missing: frozenset[str] = frozenset()
    try:
        request = _DECODER.decode(text)
        inputs: dict[str, Array] = {}
        keys, position = 1, 0
        if values is not None:
            (tensor,) = request.inputs
            tensor.data, has_null = _from_text(values, tensor)
            missing = frozenset((tensor.name,)) if has_null else missing
        for tensor in request.inputs:
            inputs[tensor.name], own_keys, size = _array(tensor, rest, position)
            keys += own_keys
            position += size
        parameters, options = _NO_PARAMETERS, PLAIN_REQUEST
        if request.parameters is not UNSET:
            parameters = request.parameters or {}
            options = request_options(parameters)
            keys += 1 + len(parameters)
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError, MalformedBody):  # no UTF-8 is a ValueError
        return None
    outputs: tuple[RequestedOutput, ...] = ()
    if request.outputs is not UNSET:
        outputs, own_keys = _outputs(request.outputs or [])
        keys += 1 + own_keys
    if request.id is not UNSET:
        keys += 1
    found = len(inputs)
    if not found or found != len(request.inputs) or (rest and position != len(rest)) or text.count(b":") != keys:
        return None
    return InferRequest(inputs, missing, outputs, None if request.id is UNSET else request.id, parameters, options)


def _array(tensor: Any, rest: memoryview | None, position: int) -> tuple[Array, int, int]:  # noqa: ANN401 -- a type of `_TYPES`
    """Return the array of an input, how many keys it has, and how many bytes of the binary tensors are its own."""
    size: int | UnsetType = UNSET
    keys = 3
    if tensor.parameters is not UNSET:
        keys = 4
        if tensor.parameters is not None and tensor.parameters.binary_data_size is not UNSET:
            size = tensor.parameters.binary_data_size
            keys = 5
    if size is UNSET:
        return _from_values(tensor), keys + 1, 0
    if rest is None or tensor.data is not UNSET:
        raise ValueError
    data = rest[position : position + size]
    return binary_tensors.to_array(data, datatype=tensor.kind, shape=tensor.shape, where=tensor.name), keys, size


def _from_values(tensor: Any) -> Array:  # noqa: ANN401
    """Return flat or nested values as an array. Raises ValueError or TypeError where they are not as the shape says."""
    if tensor.data is UNSET:
        raise ValueError
    if isinstance(tensor.data, np.ndarray):
        return tensor.data
    array: Array = np.array(tensor.data, dtype=tensor.dtype)
    if array.shape == tensor.shape:
        return array
    if array.ndim != 1 or array.size != prod(tensor.shape):
        raise ValueError
    return array.reshape(tensor.shape)


def _from_text(values: bytes | bytearray, tensor: Any) -> tuple[Array, bool]:  # noqa: ANN401
    """Read the values of a tensor in whose place an empty list was read. Raises MalformedBody."""
    if tensor.data != []:
        raise ValueError
    data: Any = parse_value(values)
    if values.rfind(b"[") == 0:  # a flat list, of which there is nothing to check but its length
        array, has_null = flat_array(data, tensor.kind)
        if array.size != prod(tensor.shape):
            raise ValueError
        return array.reshape(tensor.shape), has_null
    array, has_null = to_array(data, datatype=tensor.kind, shape=tensor.shape, where=tensor.name)
    refuse_irregular(values, [WrittenTensor(data, tensor.shape, tensor.name)], other_lists=0)
    return array, has_null


def _outputs(wanted: list[_Output]) -> tuple[tuple[RequestedOutput, ...], int]:
    """Return the outputs to give, and how many keys ask for them."""
    keys = len(wanted)
    outputs = []
    for output in wanted:
        given = output.parameters
        binary: bool | UnsetType = UNSET
        if given is not UNSET:
            keys += 1
            if given is not None and given.binary_data is not UNSET:
                binary = given.binary_data
                keys += 1
        outputs.append(RequestedOutput(output.name, _OPTIONS[binary]))
    return tuple(outputs), keys


def _type(datatype: Datatype) -> Any:  # noqa: ANN401 -- a type
    return msgspec.defstruct(
        f"_{datatype}",
        [("data", list_type(datatype) | UnsetType, UNSET)],
        bases=(_Tensor,),
        namespace={"kind": datatype, "dtype": to_numpy(datatype)},
        tag_field="datatype",
        tag=datatype,
        forbid_unknown_fields=True,
        gc=False,
    )


def _request_type() -> type[_Request]:
    tensor: Any = reduce(or_, (_type(datatype) for datatype in DATATYPES if datatype != "BF16"))
    fields = [("inputs", list[tensor])]
    made: Any = msgspec.defstruct("_AnyRequest", fields, bases=(_Request,), forbid_unknown_fields=True, gc=False)
    return made  # type: ignore[no-any-return]


_DECODER: Final = msgspec.json.Decoder(_request_type())
