"""TensorFlow Serving's REST protocol: bodies of `:predict`, `:classify` and `:regress` into inputs, outputs into answers.

Rules: github.com/tensorflow/serving, tensorflow_serving/g3doc/api_rest.md and util/json_tensor.cc.
"""

import base64
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from service.errors import InvalidRequest, MalformedBody, NotImplementedByModel, shown
from service.inference.served_model import Answer
from service.protocols import small_rows
from service.protocols.budget import Budget
from service.protocols.features import ModelInputs
from service.protocols.json_inputs import JsonInputs, row_size
from service.protocols.json_tensors import members
from service.protocols.json_values import Document, is_list, is_object, within_64_bits
from service.protocols.json_with_nan import written
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]

SIGNATURE_NAME: Final = "serving_default"
_SMALL: Final = 2048  # bytes; of more, the values cost more than what is around them
_BINARY: Final = "_bytes"  # the end of the names of outputs whose strings are bytes


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A decoded `:predict`. `rows` counts the instances of a request by rows; None in one by columns."""

    inputs: ModelInputs
    rows: int | None


def decode_predict(body: bytes | bytearray, model: str, signature: Signature, *, limit: int) -> PredictRequest:
    """Decode a body with `instances`, rows, or `inputs`, columns. `limit` bounds what rows and pictures decode to, in bytes.

    Raises MalformedBody, SignatureMismatch or DecodedTooLarge, which name the input and the place.
    """
    if len(body) <= _SMALL and len(signature.inputs) == 1:
        spec = signature.inputs[0]
        has_objects = body.count(b"{") > 1
        small = small_rows.read_named(body, spec, limit=limit) if has_objects else small_rows.read(body, spec)
        if small is not None:
            return PredictRequest(ModelInputs({spec.name: small[0]}), small[1])
    return _decode_predict(body, model, signature, limit)


def _decode_predict(body: bytes | bytearray, model: str, signature: Signature, limit: int) -> PredictRequest:
    """Decode any `:predict`; what is wrong with one is said here alone."""
    with within_64_bits():
        document = Document(body)
        root = _root(document, '{"instances": [...]} or {"inputs": ...}')
        return predict_request(root, JsonInputs(document, model, signature, Budget(limit)))


def predict_request(root: dict[str, Any], reader: JsonInputs) -> PredictRequest:
    """Read the object that a body of `:predict` is."""
    name, instances, inputs = members(root, "signature_name", "instances", "inputs")
    _refuse_other_signatures(name, "predict")
    if (instances is None) == (inputs is None):
        both = "both" if instances is not None else "neither"
        raise MalformedBody(
            f"The request has {both} of 'instances' and 'inputs'. Send rows as 'instances', or columns as 'inputs'."
        )
    if instances is None:
        return PredictRequest(reader.columns(inputs), None)
    return PredictRequest(*reader.rows(instances))


def encode_predict(answer: Answer, *, rows: int | None) -> bytes:
    """Encode outputs for a request of `rows` instances, or by columns: a bare value for one output, an object by name for several.

    NaN and infinities are written as the tokens that TensorFlow Serving writes, which are no JSON. Raises InvalidRequest if rows
    were asked of outputs that have none.
    """
    outputs = {spec.name: _encodable(spec, array) for spec, array in answer.outputs}
    if rows is None:
        if len(outputs) == 1:
            return b'{"outputs":' + written(next(iter(outputs.values()))) + b"}"
        return orjson.dumps({"outputs": {name: orjson.Fragment(written(array)) for name, array in outputs.items()}})
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise InvalidRequest(
                f"Output '{name}' has shape {list(array.shape)} for {rows} instances, so it has no rows. "
                "Send 'inputs' instead of 'instances'."
            )
    if len(outputs) == 1:
        return b'{"predictions":' + written(next(iter(outputs.values()))) + b"}"
    objects = [{name: orjson.Fragment(written(array[row, ...])) for name, array in outputs.items()} for row in range(rows)]
    return orjson.dumps({"predictions": objects})


def decode_examples(body: bytes | bytearray, model: str, signature: Signature, *, limit: int) -> ModelInputs:
    """Decode the `examples` of `:classify` and `:regress`: objects of named features, those of `context` in each of them.

    Raises like `decode_predict`.
    """
    with within_64_bits():
        document = Document(body)
        root = _root(document, '{"examples": [{...}]}')
        _refuse_other_signatures(root.get("signature_name"), "classify", "regress")
        context = root.get("context", {})
        if not is_object(context):
            raise MalformedBody("'context' must be an object of features.")
        examples = root.get("examples")
        if not is_list(examples) or not all(is_object(example) for example in examples):
            raise MalformedBody("'examples' must be a list of objects, each with the features of one row.")
        budget = Budget(limit)
        budget.take(len(examples) * row_size(context))  # it is repeated in each of them
        shared = dict(context.items())
        merged = [_example({**shared, **dict(example.items())}, signature) for example in examples]
        return JsonInputs(document, model, signature, budget).rows(merged, "examples")[0]


def classes_of(model: str, signature: Signature) -> TensorSpec:
    """Return the output that `:classify` answers with. Raises NotImplementedByModel if none has labels, or several have."""
    found = [spec for spec in signature.outputs if spec.labels and spec.shape[1:] == (len(spec.labels),)]
    if len(found) != 1:
        raise NotImplementedByModel(f"Model '{model}' has {len(found)} outputs with labels; :classify needs one. Use :predict.")
    return found[0]


def value_of(model: str, signature: Signature) -> TensorSpec:
    """Return the output that `:regress` answers with. Raises NotImplementedByModel if there is not one alone, of a number a row."""
    outputs = signature.outputs
    if len(outputs) != 1 or outputs[0].shape[1:] not in ((), (1,)) or outputs[0].datatype in ("BYTES", "BOOL"):
        raise NotImplementedByModel(f"Model '{model}' does not give one number a row, which :regress needs. Use :predict.")
    return outputs[0]


def encode_classify(answer: Answer) -> bytes:
    """Encode the scores of labels, which stand in the order of the signature."""
    ((spec, array),) = answer.outputs
    scores = [[[label, orjson.Fragment(written(score))] for label, score in zip(spec.labels, row, strict=True)] for row in array]
    return orjson.dumps({"results": scores})


def encode_regress(answer: Answer) -> bytes:
    """Encode one number a row."""
    ((_spec, array),) = answer.outputs
    return b'{"results":' + written(array.reshape(-1)) + b"}"


def _refuse_other_signatures(name: object, *methods: str) -> None:
    """Raise InvalidRequest if a request names a signature that no model here has.

    A SavedModel may also have one by the name of its method, as the models of TensorFlow Serving's documentation do.
    """
    if name is None or name in ("", SIGNATURE_NAME, *(f"tensorflow/serving/{method}" for method in methods)):
        return
    if not isinstance(name, str):
        raise MalformedBody("'signature_name' must be a string.")
    raise InvalidRequest(f"There is no signature '{shown(name)}'. Each model has one, '{SIGNATURE_NAME}'; leave the name out.")


def _root(document: Document, expected: str) -> dict[str, Any]:
    if not is_object(document.root):
        raise MalformedBody(f"The body must be a JSON object: {expected}.")
    return document.root


def _example(features: dict[str, Any], signature: Signature) -> dict[str, Any]:
    """Take the values of an example's features, of which each is a list, also where a row has one."""
    tensors = {spec.name for spec in signature.inputs if spec.shape[1:] not in ((), (1,))}
    return {
        name: value[0] if name not in tensors and is_list(value) and len(value) == 1 else value for name, value in features.items()
    }


def _encodable(spec: TensorSpec, array: Array) -> Array:
    if array.dtype != object or not spec.name.endswith(_BINARY):
        return array
    objects = np.empty(array.size, dtype=object)
    objects[:] = [{"b64": base64.b64encode(text.encode()).decode()} for text in array.reshape(-1).tolist()]
    return objects.reshape(array.shape)
