"""Open Inference Protocol V2 over REST: requests into tensors, answers into bytes.

Rules: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md, and Triton's
docs/protocol/extension_binary_data.md for tensors in binary form.
"""

from collections.abc import Sized
from itertools import repeat
from math import prod
from typing import Any, Final

import msgspec
import numpy as np
import orjson
import simdjson

from service.errors import MalformedBody, shown
from service.inference.served_model import Answer
from service.protocols import binary_tensors, small_requests
from service.protocols.classification import classes
from service.protocols.json_tensors import WrittenTensor, from_bfloat16, members, parse, refuse_irregular, to_array
from service.protocols.parameters import (
    PLAIN_REQUEST,
    OutputOptions,
    Parameters,
    RequestOptions,
    output_options,
    refuse_shared_memory,
    request_options,
)
from service.repository.datatypes import DATATYPES, Datatype, to_numpy
from service.repository.signature import Signature

Array = np.ndarray[Any, Any]

_WRITE: Final = orjson.OPT_SERIALIZE_NUMPY
_DATATYPES: Final[dict[str, Datatype]] = {datatype: datatype for datatype in DATATYPES}
_MAX_RANK: Final = 32
_MAX_SIZE: Final = 2**63 - 1
_MOST_TENSORS: Final = 4096
_SMALL: Final = 2048  # bytes of JSON; of more, the values cost more than what is around them
_AS_THE_REQUEST: Final = OutputOptions()
_RAW: Final = RequestOptions(binary_outputs=True)


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that the client asks for by name, and the form in which it wants it."""

    name: str
    options: OutputOptions


class InferRequest(msgspec.Struct, frozen=True):
    """A decoded request: tensors by input name, those of them with missing values, and the outputs to give (none means all)."""

    inputs: dict[str, Array]
    missing: frozenset[str] = frozenset()
    outputs: tuple[RequestedOutput, ...] = ()
    id: str | None = None
    parameters: Parameters = {}
    options: RequestOptions = PLAIN_REQUEST

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs to give; none means all."""
        return tuple(output.name for output in self.outputs)


class EncodedAnswer(msgspec.Struct, frozen=True):
    """A body in parts. `json_size` is the size of the JSON before the binary tensors; None if there are none, only JSON."""

    parts: list[bytes | memoryview]
    json_size: int | None


def decode(body: bytes | memoryview, *, json_size: int | None = None) -> InferRequest:
    """Decode the body of an infer request: JSON, then the tensors in binary form that it announces, if `json_size` is given.

    Raises MalformedBody with what is wrong and where; unknown keys are ignored. Binary tensors are views of the body.
    """
    if json_size is None:
        text, rest = body if isinstance(body, bytes) else bytes(body), None
    else:
        view = memoryview(body)
        if not 0 < json_size <= len(view):
            raise MalformedBody(
                f"The JSON before the binary tensors should have a size in the range (0, {len(view)}], got {json_size}."
            )
        text, rest = bytes(view[:json_size]), view[json_size:]
    small = small_requests.read(text, rest) if len(text) <= _SMALL else None
    return _decode(text, rest) if small is None else _request(small)


def _request(small: small_requests.SmallRequest) -> InferRequest:
    return InferRequest(
        inputs=small.inputs,
        outputs=tuple(RequestedOutput(name, options) for name, options in small.outputs) if small.outputs else (),
        id=small.id,
        parameters=small.parameters,
        options=request_options(small.parameters),
    )


def _decode(text: bytes, rest: memoryview | None) -> InferRequest:
    """Decode any request; what is wrong with one is said here alone."""
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


def decode_raw(body: bytes | memoryview, signature: Signature) -> InferRequest:
    """Decode a body that is nothing but the one input of a model, as a batch of 1; its answer is all outputs in binary form.

    A size that the signature leaves open follows from the number of bytes. Raises MalformedBody if there are several such sizes
    or inputs, or the bytes do not fit.
    """
    if len(signature.inputs) != 1:
        raise MalformedBody(f"A body of raw bytes is for models with one input; this one has {len(signature.inputs)}.")
    (spec,) = signature.inputs
    where = f"Input '{spec.name}'"
    view = memoryview(body)
    batch = (1,) if spec.shape[:1] == (-1,) else ()
    sizes = spec.shape[len(batch) :]
    known = prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or (spec.datatype == "BYTES" and known != 1):
        raise MalformedBody(f"{where} of shape {list(spec.shape)} does not follow from raw bytes. Send it with its shape, as JSON.")
    if spec.datatype == "BYTES":
        array = _text_array(view, where)
        return InferRequest(inputs={spec.name: array.reshape((*batch, *(abs(size) for size in sizes)))}, options=_RAW)
    itemsize = to_numpy(spec.datatype).itemsize
    shape = (*batch, *(len(view) // (known * itemsize or 1) if size == -1 else size for size in sizes))
    array = binary_tensors.to_array(view, datatype=spec.datatype, shape=shape, where=where)
    return InferRequest(inputs={spec.name: array}, options=_RAW)


def encode(answer: Answer, *, model: str, version: int, request: InferRequest) -> EncodedAnswer:
    """Encode an answer, each output in the form that was asked for.

    In JSON, numbers are written from the arrays; NaN and infinities, which JSON has not, as null. Binary outputs are views of the
    arrays. Raises InvalidRequest if classes were asked of an output that has none.
    """
    wanted = [output.options for output in request.outputs] or repeat(_AS_THE_REQUEST, len(answer.outputs))
    all_binary = request.options.binary_outputs
    blobs: list[bytes | memoryview] = []
    outputs: list[dict[str, Any]] = []
    for (spec, array), options in zip(answer.outputs, wanted, strict=True):
        values, datatype = (classes(array, spec, options.classes), "BYTES") if options.classes else (array, spec.datatype)
        if all_binary if options.binary is None else options.binary:
            blob = binary_tensors.to_bytes(values)
            blobs.append(blob)
            last: dict[str, Any] = {"parameters": {"binary_data_size": len(blob)}}
        else:
            last = {"data": _data(values)}
        outputs.append({"name": spec.name, "datatype": datatype, "shape": values.shape, **last})
    body = {"model_name": model, "model_version": str(version), "outputs": outputs}
    head = orjson.dumps(body if request.id is None else {"id": request.id, **body}, option=_WRITE)
    return EncodedAnswer([head, *blobs], len(head) if blobs else None)


def refuse_many(tensors: Sized, what: str) -> None:
    """Raise MalformedBody for more tensors than any model has: each takes time and a kilobyte before its name proves unknown."""
    if len(tensors) > _MOST_TENSORS:
        raise MalformedBody(f"The request has {len(tensors)} {what}; a request may have up to {_MOST_TENSORS}.")


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
    datatype = _datatype(kind, where)
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


def _text_array(data: memoryview, where: str) -> Array:
    """Read the one string of a raw body, which has no length before it."""
    try:
        return np.array([str(data, "utf-8")], dtype=object)
    except UnicodeDecodeError:
        raise MalformedBody(f"{where} holds bytes that are no UTF-8; models take text.") from None


def _datatype(value: object, where: str) -> Datatype:
    datatype = _DATATYPES.get(value) if isinstance(value, str) else None
    if datatype is not None:
        return datatype
    raise MalformedBody(f"{where} has datatype {_quoted(value)}; expected one of {', '.join(DATATYPES)}.")


def _shape(value: object, where: str) -> tuple[int, ...]:
    if isinstance(value, simdjson.Array) and len(value) <= _MAX_RANK:
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


def _data(array: Array) -> Array | list[Any]:
    """Leave contiguous numbers to orjson, which writes arrays itself; strings become a list."""
    kind = array.dtype.kind
    if kind == "O":
        return array.ravel().tolist()
    return np.ascontiguousarray(from_bfloat16(array) if kind == "V" else array).reshape(-1)


def _quoted(value: object) -> str:
    return f"'{shown(value)}'" if isinstance(value, str) else "that is missing or no string"
