"""The JSON of any request of the Open Inference Protocol into tensors; every mistake in one is found and named here."""

from typing import Any, Final

import numpy as np
import simdjson

from service.errors import MalformedBody, shown
from service.protocols import binary_tensors
from service.protocols.infer_request import InferRequest, RequestedOutput, datatype_of, refuse_many
from service.protocols.json_tensors import WrittenTensor, members, parse, refuse_irregular, to_array
from service.protocols.parameters import Parameters, output_options, refuse_shared_memory, request_options
from service.repository.datatypes import MAX_RANK

Array = np.ndarray[Any, Any]

_MAX_SIZE: Final = 2**63 - 1


def read(text: bytes | bytearray, rest: memoryview | None) -> InferRequest:
    """Read the JSON of a request, with the binary tensors behind it; None if the body is said to be JSON alone.

    Raises MalformedBody with what is wrong and where; unknown keys are ignored. Binary tensors are views of `rest`.
    """
    document = parse(text)
    identifier, tensors, wishes, asked = members(document, "id", "inputs", "outputs", "parameters")
    if identifier is not None and not isinstance(identifier, str):
        raise MalformedBody("'id' must be a string.")
    blobs = _Blobs(rest)
    inputs, missing, written = _inputs(tensors, blobs)
    blobs.refuse_rest()
    other_lists = 1 + len(inputs) + isinstance(wishes, simdjson.Array)
    refuse_irregular(text, written, other_lists=other_lists)
    parameters = _parameters(asked, "the request")
    return InferRequest(
        inputs=inputs,
        missing=missing,
        outputs=_outputs(wishes),
        id=identifier,
        parameters=parameters,
        options=request_options(parameters),
    )


class _Blobs:
    """The binary tensors behind the JSON, one after another; None if the body is said to be JSON alone."""

    def __init__(self, data: memoryview | None) -> None:
        self._rest = data

    def take(self, size: object, where: str) -> memoryview:
        """Return the next `size` bytes."""
        if self._rest is None:
            raise MalformedBody(f"{where} has a binary_data_size, but the header Inference-Header-Content-Length is missing.")
        if type(size) is not int or not 0 <= size <= len(self._rest):
            raise MalformedBody(
                f"{where} has the binary_data_size {shown(str(size))}; expected a number of bytes, and {len(self._rest)} are left."
            )
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def refuse_rest(self) -> None:
        """Raise MalformedBody if bytes are left."""
        if self._rest:
            raise MalformedBody(f"The body has {len(self._rest)} bytes more than its inputs announce by binary_data_size.")


def _inputs(tensors: object, blobs: _Blobs) -> tuple[dict[str, Array], frozenset[str], list[WrittenTensor]]:
    if not isinstance(tensors, simdjson.Array) or not len(tensors):
        raise MalformedBody(
            'The request has no inputs. Send {"inputs": [{"name": ..., "shape": ..., "datatype": ..., "data": ...}]}.'
        )
    refuse_many(tensors, "inputs")
    inputs: dict[str, Array] = {}
    missing: set[str] = set()
    written: list[WrittenTensor] = []
    for index, tensor in enumerate(tensors):
        name, array, has_null = _input(tensor, index, blobs, written)
        if name in inputs:
            raise MalformedBody(f"Input '{shown(name)}' is given twice.")
        inputs[name] = array
        if has_null:
            missing.add(name)
    return inputs, frozenset(missing), written


def _input(tensor: object, index: int, blobs: _Blobs, written: list[WrittenTensor]) -> tuple[str, Array, bool]:
    """Read one input; add it to `written` if its values stand in the JSON."""
    if not isinstance(tensor, simdjson.Object):
        raise MalformedBody(f"inputs[{index}] must be an object with name, shape, datatype and data.")
    name, given, kind, sizes, data = members(tensor, "name", "parameters", "datatype", "shape", "data")
    if not isinstance(name, str) or not name:
        raise MalformedBody(f"inputs[{index}] has no 'name'.")
    where = f"Input '{shown(name)}'"
    parameters = _parameters(given, where)
    refuse_shared_memory(parameters, where)
    datatype = datatype_of(kind, where)
    shape = _shape(sizes, where)
    size = parameters.get("binary_data_size")
    if size is None:
        array, missing = to_array(data, datatype=datatype, shape=shape, where=where)
        if isinstance(data, simdjson.Array):
            written.append(WrittenTensor(data, shape, where))
        return name, array, missing
    if data is not None:
        raise MalformedBody(f"{where} has both 'data' and a binary_data_size. Send one of them.")
    return name, binary_tensors.to_array(blobs.take(size, where), datatype=datatype, shape=shape, where=where), False


def _shape(value: object, where: str) -> tuple[int, ...]:
    if isinstance(value, simdjson.Array) and len(value) <= MAX_RANK:
        sizes = [size for size in value if type(size) is int and 0 <= size <= _MAX_SIZE]
        if len(sizes) == len(value):
            return tuple(sizes)
    raise MalformedBody(f"{where} has no valid 'shape'; expected a list of sizes of 0 or more, the batch axis first.")


def _outputs(value: object) -> tuple[RequestedOutput, ...]:
    if value is None:
        return ()
    if not isinstance(value, simdjson.Array):
        raise MalformedBody("'outputs' must be a list: [{\"name\": ...}].")
    refuse_many(value, "outputs")
    return tuple(_output(item) for item in value)


def _output(item: object) -> RequestedOutput:
    name, given = members(item, "name", "parameters") if isinstance(item, simdjson.Object) else (None, None)
    if not isinstance(name, str):
        raise MalformedBody("Each of the 'outputs' must be an object with a 'name'.")
    where = f"Output '{shown(name)}'"
    return RequestedOutput(name, output_options(_parameters(given, where), where))


def _parameters(value: object, where: str) -> Parameters:
    if value is None:
        return {}
    if isinstance(value, simdjson.Object):
        parameters = {key: item for key, item in value.items() if isinstance(item, str | int | float | bool)}
        if len(parameters) == len(value):
            return parameters
    raise MalformedBody(f"The parameters of {where} must be an object of strings, numbers and booleans.")
