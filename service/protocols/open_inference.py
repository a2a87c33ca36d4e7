"""Open Inference Protocol V2 over REST: requests into tensors, answers into bytes.

Rules: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md, and Triton's
docs/protocol/extension_binary_data.md for tensors in binary form.
"""

from itertools import repeat
from math import prod
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from service.errors import MalformedBody
from service.inference.served_model import Answer
from service.protocols import binary_tensors, json_requests, small_requests
from service.protocols.classification import classes
from service.protocols.infer_request import InferRequest
from service.protocols.json_tensors import from_bfloat16
from service.protocols.parameters import BINARY_REQUEST, OutputOptions
from service.repository.datatypes import to_numpy
from service.repository.signature import Signature

Array = np.ndarray[Any, Any]

_WRITE: Final = orjson.OPT_SERIALIZE_NUMPY
# Bytes of JSON up to which msgspec reads the values fastest, and up to which what is around them costs too much otherwise.
_SMALL: Final = 1536
_MEDIUM: Final = 1 << 15
_AS_THE_REQUEST: Final = OutputOptions()


class EncodedAnswer(msgspec.Struct, frozen=True):
    """A body in parts. `json_size` is the size of the JSON before the binary tensors; None if there are none, only JSON."""

    parts: list[bytes | memoryview]
    json_size: int | None


def decode(body: bytes | bytearray | memoryview, *, json_size: int | None = None) -> InferRequest:
    """Decode the body of an infer request: JSON, then the tensors in binary form that it announces, if `json_size` is given.

    Raises MalformedBody with what is wrong and where; unknown keys are ignored. Binary tensors are views of the body.
    """
    if json_size is None:
        text, rest = bytes(body) if isinstance(body, memoryview) else body, None
    else:
        view = memoryview(body)
        if not 0 < json_size <= len(view):
            raise MalformedBody(
                f"The JSON before the binary tensors should have a size in the range (0, {len(view)}], got {json_size}."
            )
        text, rest = bytes(view[:json_size]), view[json_size:]
    found: InferRequest | None = None
    if len(text) <= _SMALL:
        found = small_requests.read(text, rest)
    elif len(text) <= _MEDIUM and rest is None:
        found = small_requests.read_apart(text)
    return json_requests.read(text, rest) if found is None else found


def decode_raw(body: bytes | bytearray | memoryview, signature: Signature) -> InferRequest:
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
        return InferRequest(inputs={spec.name: array.reshape((*batch, *(abs(size) for size in sizes)))}, options=BINARY_REQUEST)
    itemsize = to_numpy(spec.datatype).itemsize
    shape = (*batch, *(len(view) // (known * itemsize or 1) if size == -1 else size for size in sizes))
    array = binary_tensors.to_array(view, datatype=spec.datatype, shape=shape, where=where)
    return InferRequest(inputs={spec.name: array}, options=BINARY_REQUEST)


def encode(answer: Answer, *, model: str, version: int, request: InferRequest) -> EncodedAnswer:
    """Encode an answer, each output in the form that was asked for.

    In JSON, numbers are written from the arrays; NaN and infinities, which JSON has not, as null. Large binary outputs are views of
    the arrays. Raises InvalidRequest if classes were asked of an output that has none.
    """
    asked = request.outputs
    all_binary = request.options.binary_outputs
    wanted = [output.options for output in asked] if asked else repeat(_AS_THE_REQUEST, len(answer.outputs))
    blobs: list[bytes | memoryview] = []
    outputs: list[dict[str, Any]] = []
    for (spec, array), options in zip(answer.outputs, wanted, strict=True):
        values, datatype = (classes(array, spec, options.classes), "BYTES") if options.classes else (array, spec.datatype)
        tensor: dict[str, Any] = {"name": spec.name, "datatype": datatype, "shape": values.shape}
        if all_binary if options.binary is None else options.binary:
            blob = binary_tensors.to_bytes(values)
            blobs.append(blob)
            tensor["parameters"] = {"binary_data_size": len(blob)}
        else:
            tensor["data"] = _data(values)
        outputs.append(tensor)
    body = {"model_name": model, "model_version": str(version), "outputs": outputs}
    head = orjson.dumps(body if request.id is None else {"id": request.id, **body}, option=_WRITE)
    return EncodedAnswer([head, *blobs], len(head) if blobs else None)


def _text_array(data: memoryview, where: str) -> Array:
    """Read the one string of a raw body, which has no length before it."""
    try:
        return np.array([str(data, "utf-8")], dtype=object)
    except UnicodeDecodeError:
        raise MalformedBody(f"{where} holds bytes that are no UTF-8; models take text.") from None


def _data(array: Array) -> Array | list[Any]:
    """Leave contiguous numbers to orjson, which writes arrays itself; strings become a list."""
    kind = array.dtype.kind
    if kind == "O":
        return array.ravel().tolist()
    return (from_bfloat16(array) if kind == "V" else array).ravel()
