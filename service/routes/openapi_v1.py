"""What `/openapi.json` says of the calls below `/v1/models` and `/models`, and the examples of the loaded models for them."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, Final

from service.inference.served_model import ServedModel
from service.protocols import arrow_tables, media_types, numpy_files, prediction
from service.repository.signature import TensorSpec
from service.routes import prediction as prediction_routes
from service.routes import tensorflow_serving

_EXAMPLE_VALUES: Final = 256  # a larger tensor is only hinted at


def paths(served: Sequence[ServedModel]) -> dict[str, Any]:
    """Return the paths; the examples are requests that the served models accept."""
    found: dict[str, Any] = {
        tensorflow_serving.PATH: {"get": _operation("Names of the models that are ready", _json(_ref("ModelList")))}
    }
    for suffix, parameters in _WAYS.items():
        serving = f"{tensorflow_serving.PATH}/{{model_name}}{suffix}"
        found |= {
            serving: {"parameters": parameters, "get": _operation("State of the versions", _json(_ref("ServableStatus")), (404,))},
            f"{serving}/metadata": {
                "parameters": parameters,
                "get": _operation("Signature of a model", _json(_ref("ServableMetadata")), (404, 503)),
            },
            f"{serving}:predict": {
                "parameters": parameters,
                "post": _call("Run a model on rows or on columns", "ServablePredict", "ServablePrediction", _rows_of(served)),
            },
            f"{serving}:classify": {
                "parameters": parameters,
                "post": _call("Scores of the labels of each example", "ServableExamples", "ServableResults", ()),
            },
            f"{serving}:regress": {
                "parameters": parameters,
                "post": _call("One number for each example", "ServableExamples", "ServableResults", ()),
            },
            f"{prediction_routes.PATH}/{{model_name}}{suffix}/predict": {
                "parameters": parameters,
                "post": _predict_operation(served),
            },
        }
    return found


def _predict_operation(served: Sequence[ServedModel]) -> dict[str, Any]:
    body = {
        media_types.JSON: {"schema": _ROWS, **_examples(_rows_of(served))},
        **{
            kind: {"schema": {"type": "string", "contentEncoding": "binary"}}
            for kind in prediction.BODY_TYPES
            if kind != media_types.JSON
        },
    }
    answers = {
        media_types.JSON: {"schema": _ref("Predictions")},
        **{kind: {"schema": {"type": "string", "contentEncoding": "binary"}} for kind in _FILES},
    }
    return {
        **_operation(
            "Run a model on names, pictures, tables or arrays; labels and units in the answer",
            answers,
            (400, 404, 406, 413, 415, 500, 503, 504),
        ),
        "parameters": [_TOP],
        "requestBody": {"required": True, "content": body},
    }


def _call(summary: str, request: str, answer: str, examples: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {
        **_operation(summary, _json(_ref(answer)), (400, 404, 413, 415, 500, 501, 503, 504)),
        "requestBody": {"required": True, "content": {media_types.JSON: {"schema": _ref(request), **_examples(examples)}}},
    }


def _operation(summary: str, content: dict[str, Any], errors: tuple[int, ...] = ()) -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": "Success", "content": content}}
    answers |= {str(status): {"description": _ERRORS[status], "content": _json(_ref("Error"))} for status in errors}
    return {"summary": summary, "responses": answers}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {media_types.JSON: {"schema": schema}}


def _examples(examples: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found = {name: {"summary": f"One row for {name}", "value": value} for name, value in examples}
    return {"examples": found} if found else {}


def _rows_of(served: Sequence[ServedModel]) -> list[tuple[str, Any]]:
    return [(model.name, {"instances": [_row(model)]}) for model in served if all(spec.shape for spec in model.signature.inputs)]


def _row(model: ServedModel) -> Any:  # noqa: ANN401 -- any JSON
    inputs = model.signature.inputs
    if len(inputs) > 1:
        return {spec.name: _value(spec) for spec in inputs}
    (spec,) = inputs
    if len(spec.shape) == 2 and len(spec.features) == spec.shape[1]:  # noqa: PLR2004 -- rows and features
        return dict.fromkeys(spec.features, _scalar(spec))
    return _value(spec)


def _value(spec: TensorSpec) -> Any:  # noqa: ANN401
    shape = [1 if size == -1 else size for size in spec.shape[1:]]
    if prod(shape) > _EXAMPLE_VALUES:
        return ["..."]
    value = _scalar(spec)
    for size in reversed(shape):
        value = [value] * size
    return value


def _scalar(spec: TensorSpec) -> Any:  # noqa: ANN401
    return {"BYTES": "a", "BOOL": True}.get(spec.datatype, 0)


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_STRING: Final = {"type": "string"}
_FILES: Final = [numpy_files.NPY_TYPE, numpy_files.NPZ_TYPE, arrow_tables.STREAM_TYPE]
_TOP: Final = {
    "name": "top",
    "in": "query",
    "description": "How many labels a row is to have.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999999, "default": prediction.DEFAULT_TOP},
}
_NAME: Final = {"name": "model_name", "in": "path", "required": True, "schema": _STRING}
_VERSION: Final = {"name": "model_version", "in": "path", "required": True, "schema": _STRING}
_LABEL: Final = {"name": "model_label", "in": "path", "required": True, "schema": _STRING}
_WAYS: Final = {"": [_NAME], "/versions/{model_version}": [_NAME, _VERSION], "/labels/{model_label}": [_NAME, _LABEL]}
_ERRORS: Final = {
    400: "The request is malformed or does not fit the signature of the model",
    404: "Unknown model, version or label",
    406: "No form of answer that the client accepts",
    413: "The body is too large, or becomes so when it is decoded",
    415: "A body of a kind or an encoding that is not read",
    500: "The model failed",
    501: "The signature of the model has not what this call needs",
    503: "The queue is full, or the model is loading or being unloaded; see Retry-After",
    504: "The time that X-Request-Timeout-Ms allows is over",
}
_ANY_ROWS: Final = {"type": "array", "minItems": 1, "description": "Rows: values, objects of named values, or pictures as b64."}
_ROWS: Final = {
    "description": "Named values of one row, a list of rows, or an object with 'instances' or 'inputs' as for :predict.",
    "type": ["object", "array"],
}
SCHEMAS: Final = {
    "ServableStatus": _object(
        ("model_version_status",),
        name=_STRING,
        ready={"type": "boolean"},
        model_version_status={
            "type": "array",
            "items": _object(
                ("version", "state", "status"),
                version=_STRING,
                state={"type": "string", "enum": ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
                status=_object(("error_code", "error_message"), error_code=_STRING, error_message=_STRING),
            ),
        },
    ),
    "ServableMetadata": _object(
        ("model_spec", "metadata"),
        model_spec=_object(("name", "version"), name=_STRING, signature_name=_STRING, version=_STRING),
        metadata=_object(("signature_def",), signature_def={"type": "object"}),
    ),
    "ServablePredict": {
        "type": "object",
        "properties": {
            "signature_name": {"type": ["string", "null"], "enum": ["", "serving_default", None]},
            "instances": _ANY_ROWS,
            "inputs": {"description": "Columns: a tensor, or an object of tensors by name."},
        },
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    },
    "ServablePrediction": {
        "type": "object",
        "properties": {"predictions": {"type": "array"}, "outputs": {}},
        "oneOf": [{"required": ["predictions"]}, {"required": ["outputs"]}],
    },
    "ServableExamples": _object(
        ("examples",),
        signature_name={"type": ["string", "null"], "enum": ["", "serving_default", None]},
        context={"type": ["object", "null"], "description": "Features that all examples have."},
        examples={"type": "array", "minItems": 1, "items": {"type": "object", "description": "Features by name."}},
    ),
    "ServableResults": _object(("results",), results={"type": "array"}),
    "Predictions": _object(
        ("model_name", "model_version", "outputs"),
        model_name=_STRING,
        model_version=_STRING,
        predictions={"type": "array", "items": {"type": "object", "description": "What each output says of the row."}},
        outputs={"type": "array", "items": _ref("Tensor")},
    ),
}
