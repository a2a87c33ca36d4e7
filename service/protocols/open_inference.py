"""Open Inference Protocol V2, REST in JSON: requests into tensors, answers and metadata into bytes.

Rules: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import orjson
import simdjson

from service.errors import MalformedBody, shown
from service.inference.served_model import Answer
from service.protocols.json_tensors import parse, to_array
from service.repository.datatypes import DATATYPES, Datatype
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]
Parameters = dict[str, str | int | float | bool]

PLATFORM: Final = "onnx_onnxv1"
_WRITE: Final = orjson.OPT_SERIALIZE_NUMPY
_MAX_RANK: Final = 32
_MAX_SIZE: Final = 2**63 - 1


class TensorMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """An input or output as clients see it; `parameters` says what the numbers mean."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    parameters: dict[str, Any] = {}


class Metadata(msgspec.Struct, frozen=True):
    """Model metadata as the protocol has it."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A decoded request: tensors by input name, those of them with missing values, and the outputs to give (none means all)."""

    inputs: dict[str, Array]
    missing: frozenset[str]
    outputs: tuple[str, ...]
    id: str | None
    parameters: Parameters


def decode(body: bytes) -> InferRequest:
    """Decode the JSON body of an infer request. Raises MalformedBody with what is wrong and where; unknown keys are ignored."""
    document = parse(body)
    identifier = document.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise MalformedBody("'id' must be a string.")
    inputs, missing = _inputs(document.get("inputs"))
    return InferRequest(
        inputs=inputs,
        missing=missing,
        outputs=_outputs(document.get("outputs")),
        id=identifier,
        parameters=_parameters(document.get("parameters"), "the request"),
    )


def encode(answer: Answer, *, model: str, version: int, request: InferRequest) -> bytes:
    """Encode an answer. Numbers are written from the arrays; NaN and infinities, which JSON has not, as null."""
    body: dict[str, Any] = {} if request.id is None else {"id": request.id}
    body |= {
        "model_name": model,
        "model_version": str(version),
        "outputs": [
            {"name": spec.name, "datatype": spec.datatype, "shape": array.shape, "data": _data(array)}
            for spec, array in answer.outputs
        ],
    }
    return orjson.dumps(body, option=_WRITE)


def model_metadata(name: str, versions: Sequence[int], signature: Signature) -> Metadata:
    """Return the model metadata; what a tensor means (labels, feature names, unit) stands in its `parameters`."""
    return Metadata(
        name=name,
        versions=tuple(str(version) for version in versions),
        platform=PLATFORM,
        inputs=tuple(_tensor_metadata(spec) for spec in signature.inputs),
        outputs=tuple(_tensor_metadata(spec) for spec in signature.outputs),
    )


def server_metadata(version: str) -> dict[str, Any]:
    """Return the server metadata object; only extensions that are there in full are listed."""
    return {"name": "axon", "version": version, "extensions": []}


def _inputs(tensors: object) -> tuple[dict[str, Array], frozenset[str]]:
    if not isinstance(tensors, simdjson.Array) or not len(tensors):
        raise MalformedBody(
            'The request has no inputs. Send {"inputs": [{"name": ..., "shape": ..., "datatype": ..., "data": ...}]}.'
        )
    inputs: dict[str, Array] = {}
    missing: set[str] = set()
    for index, tensor in enumerate(tensors):
        name, array, has_null = _input(tensor, index)
        if name in inputs:
            raise MalformedBody(f"Input '{shown(name)}' is given twice.")
        inputs[name] = array
        if has_null:
            missing.add(name)
    return inputs, frozenset(missing)


def _input(tensor: object, index: int) -> tuple[str, Array, bool]:
    if not isinstance(tensor, simdjson.Object):
        raise MalformedBody(f"inputs[{index}] must be an object with name, shape, datatype and data.")
    name = tensor.get("name")
    if not isinstance(name, str) or not name:
        raise MalformedBody(f"inputs[{index}] has no 'name'.")
    where = f"Input '{shown(name)}'"
    _parameters(tensor.get("parameters"), where)
    datatype = _datatype(tensor.get("datatype"), where)
    shape = _shape(tensor.get("shape"), where)
    return name, *to_array(tensor.get("data"), datatype=datatype, shape=shape, where=where)


def _datatype(value: object, where: str) -> Datatype:
    for datatype in DATATYPES:
        if value == datatype:
            return datatype
    raise MalformedBody(f"{where} has datatype {_quoted(value)}; expected one of {', '.join(DATATYPES)}.")


def _shape(value: object, where: str) -> tuple[int, ...]:
    if isinstance(value, simdjson.Array) and len(value) <= _MAX_RANK:
        sizes = tuple(size for size in value if type(size) is int and 0 <= size <= _MAX_SIZE)
        if len(sizes) == len(value):
            return sizes
    raise MalformedBody(f"{where} has no valid 'shape'; expected a list of sizes of 0 or more, the batch axis first.")


def _outputs(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, simdjson.Array):
        raise MalformedBody("'outputs' must be a list: [{\"name\": ...}].")
    found = (item.get("name") if isinstance(item, simdjson.Object) else None for item in value)
    names = tuple(name for name in found if isinstance(name, str))
    if len(names) != len(value):
        raise MalformedBody("Each of the 'outputs' must be an object with a 'name'.")
    return names


def _parameters(value: object, where: str) -> Parameters:
    if value is None:
        return {}
    if isinstance(value, simdjson.Object):
        parameters = {key: item for key, item in value.items() if isinstance(item, str | int | float | bool)}
        if len(parameters) == len(value):
            return parameters
    raise MalformedBody(f"The parameters of {where} must be an object of strings, numbers and booleans.")


def _tensor_metadata(spec: TensorSpec) -> TensorMetadata:
    meaning = {
        "labels": spec.labels,
        "features": spec.features,
        "unit": spec.unit,
        "value_range": spec.value_range,
        "missing": spec.missing,
    }
    known = {key: value for key, value in meaning.items() if value}
    return TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape, parameters=known)


def _data(array: Array) -> Array | list[Any]:
    """Leave contiguous numbers to orjson, which writes arrays itself; strings become a list."""
    return array.ravel().tolist() if array.dtype == object else np.ascontiguousarray(array).reshape(-1)


def _quoted(value: object) -> str:
    return f"'{shown(value)}'" if isinstance(value, str) else "that is missing or no string"
