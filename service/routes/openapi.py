"""`/openapi.json`: OpenAPI 3.1 of every route, with the loaded models' own tensors as examples."""

from collections.abc import Callable
from math import prod
from typing import Any, Final

from litestar import get
from litestar.handlers import HTTPRouteHandler

from service import __version__
from service.inference.served_model import ServedModel
from service.registry import Registry, State
from service.repository.datatypes import DATATYPES
from service.repository.signature import TensorSpec
from service.routes import health, metrics, models, openapi_v1, repository
from service.routes.requests import MILLISECONDS

_EXAMPLE_VALUES: Final = 256  # a larger tensor is only hinted at
PATHS: Final = ["/openapi.json", "/schema/openapi.json"]


def handlers(registry: Registry, *, complete: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> list[HTTPRouteHandler]:
    """Return the handler over a registry; `complete` adds to the document what stands in front of the routes."""

    @get(PATHS, sync_to_thread=False)
    def openapi() -> dict[str, Any]:
        described = _grouped(document(registry.served()))
        return described if complete is None else complete(described)

    return [openapi]


def document(served: list[ServedModel]) -> dict[str, Any]:
    """Build the document; the examples are requests that the served models accept."""
    model_paths = {
        path + suffix: {"parameters": parameters} | operation
        for path, parameters in (
            (models.PATH + "/{model_name}", [_NAME]),
            (models.PATH + "/{model_name}/versions/{model_version}", [_NAME, _VERSION]),
        )
        for suffix, operation in (
            ("", {"get": _operation("Metadata of a model", _ref("ModelMetadata"), (404, 503))}),
            ("/ready", {"get": _operation("Whether a model can answer", _ref("ModelReady"), (404, 503))}),
            ("/config", {"get": _operation("How a model is served, in Triton's words", _ref("ModelConfiguration"), (404, 503))}),
            ("/stats", {"get": _operation("What a model has done so far", _ref("ModelStatistics"), (404, 503))}),
            ("/infer", {"post": _infer_operation(served)}),
        )
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Axon",
            "version": __version__,
            "description": "Batched inference of ONNX models by the Open Inference Protocol V2.",
        },
        "paths": {
            health.LIVE_PATH: {"get": _operation("Whether the server is alive", _flag("live"))},
            health.READY_PATH: {"get": _ready_operation()},
            health.SERVER_PATH: {"get": _operation("Metadata of the server", _ref("ServerMetadata"))},
            models.PATH: {"get": _operation("Names of the models that are ready", _ref("ModelList"))},
            models.ALL_STATISTICS_PATH: {"get": _operation("What all models have done so far", _ref("ModelStatistics"))},
            **model_paths,
            **openapi_v1.paths(served),
            repository.INDEX_PATH: {"post": _index_operation()},
            _plain(repository.LOAD_PATH): _control_operation("Load a model, or load it again after a change", "load"),
            _plain(repository.UNLOAD_PATH): _control_operation("Take a model down after what it has accepted", "unload"),
            metrics.METRICS_PATH: {"get": {"summary": "Prometheus metrics", "responses": {"200": _text_answer()}}},
            PATHS[0]: {"get": _operation("This document", {"type": "object"})},
        },
        "components": {"schemas": _SCHEMAS | openapi_v1.SCHEMAS},
    }


def _grouped(described: dict[str, Any]) -> dict[str, Any]:
    """Put each operation under a heading, for people who read the document."""
    for path, item in described["paths"].items():
        heading = next(heading for start, heading in _HEADINGS.items() if path.startswith(start))
        for operation in item.values():
            if isinstance(operation, dict):
                operation["tags"] = ["Inference" if path.endswith("/infer") else heading]
    return described


def _operation(summary: str, schema: dict[str, Any], errors: tuple[int, ...] = ()) -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": "Success", "content": {"application/json": {"schema": schema}}}}
    answers |= {str(status): _error_answer(status) for status in errors}
    return {"summary": summary, "responses": answers}


def _infer_operation(served: list[ServedModel]) -> dict[str, Any]:
    """Describe inference; the form with binary tensors has no schema, as no schema language has tensors."""
    content: dict[str, Any] = {"schema": _ref("InferRequest")}
    if served:
        content["examples"] = {model.name: {"summary": f"One row for {model.name}", "value": _example(model)} for model in served}
    operation = _operation("Run a model", _ref("InferResponse"), (400, 404, 413, 415, 500, 503, 504))
    operation["responses"]["200"]["content"]["application/octet-stream"] = {}
    return {
        **operation,
        "parameters": [_TIMEOUT],
        "requestBody": {"required": True, "content": {"application/json": content}},
    }


def _index_operation() -> dict[str, Any]:
    schema = {"type": "object", "properties": {"ready": {"type": ["boolean", "null"], "default": False}}}
    return {
        **_operation("Every model version with its state", {"type": "array", "items": _ref("VersionStatus")}, (400, 413)),
        "requestBody": {"required": False, "content": {"application/json": {"schema": schema}}},
    }


def _control_operation(summary: str, verb: str) -> dict[str, Any]:
    done = _object(("name", verb), name=_STRING, **{verb: {"type": "boolean"}})
    body = {"required": False, "content": {"application/json": {"schema": _ref(f"{verb.capitalize()}Request")}}}
    return {"parameters": [_NAME], "post": _operation(summary, done, (400, 403, 404, 413, 500)) | {"requestBody": body}}


def _plain(path: str) -> str:
    """Return a path template of the framework as OpenAPI writes it, without the type of its parameters."""
    return path.replace(":str}", "}")


def _ready_operation() -> dict[str, Any]:
    operation = _operation("Whether the server can answer", _flag("ready"))
    operation["responses"]["503"] = operation["responses"]["200"] | {"description": "Not ready"}
    return operation


def _text_answer() -> dict[str, Any]:
    return {"description": "Prometheus text format", "content": {"text/plain": {"schema": {"type": "string"}}}}


def _error_answer(status: int) -> dict[str, Any]:
    return {"description": _ERRORS[status], "content": {"application/json": {"schema": _ref("Error")}}}


def _example(model: ServedModel) -> dict[str, Any]:
    return {"inputs": [_example_tensor(spec) for spec in model.signature.inputs]}


def _example_tensor(spec: TensorSpec) -> dict[str, Any]:
    shape = [1 if size == -1 else size for size in spec.shape]
    if prod(shape) > _EXAMPLE_VALUES:
        return {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": ["..."]}
    value: Any = {"BYTES": "a", "BOOL": True}.get(spec.datatype, 0)
    for size in reversed(shape):
        value = [value] * size
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": value}


def _flag(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "boolean"}}, "required": [name]}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


# The first that a path begins with.
_HEADINGS: Final = {
    "/v2/models": "Models",
    "/v2/repository": "Repository",
    "/v2": "Server",
    "/v1": "TensorFlow Serving",
    "/models": "Inference",
    "/": "Server",
}
_STRING: Final = {"type": "string"}
_STRINGS: Final = {"type": "array", "items": _STRING}
_SHAPE: Final = {"type": "array", "items": {"type": "integer"}, "description": "Sizes, the batch axis first; -1 is any size."}
_DATATYPE: Final = {"type": "string", "enum": list(DATATYPES)}
_PARAMETERS: Final = {"type": ["object", "null"], "additionalProperties": {"type": ["string", "number", "boolean"]}}
_DATA: Final = {"type": "array", "description": "Values in row-major order, flat or nested like the shape."}
_NAME: Final = {"name": "model_name", "in": "path", "required": True, "schema": _STRING}
_VERSION: Final = {"name": "model_version", "in": "path", "required": True, "schema": _STRING}
_TIMEOUT: Final = {
    "name": "X-Request-Timeout-Ms",
    "in": "header",
    "description": "After how many milliseconds the answer is of no use any more.",
    "schema": {"type": "string", "pattern": f"^({MILLISECONDS})$"},
}
_COUNT: Final = {"type": "integer", "minimum": 0}
_DURATION: Final = {
    "type": "object",
    "properties": {"count": _COUNT, "ns": _COUNT},
    "required": ["count", "ns"],
    "description": "How often, and how long in all, in nanoseconds.",
}
_ERRORS: Final = {
    400: "The request is malformed or does not fit the signature of the model",
    403: "Not allowed on this server",
    404: "Unknown model or version",
    413: "The body is too large",
    415: "Unsupported Content-Encoding",
    500: "The model failed, or could not be loaded",
    504: "The time that the request allowed is over",
    503: "The queue is full, or the model is loading or being unloaded; see Retry-After",
}
_SCHEMAS: Final = {
    "Error": _object(("error", "code", "request_id"), error=_STRING, code=_STRING, request_id=_STRING),
    "ServerMetadata": _object(("name", "version", "extensions"), name=_STRING, version=_STRING, extensions=_STRINGS),
    "ModelList": _object(("models",), models=_STRINGS),
    "ModelReady": _object(("name", "ready"), name=_STRING, ready={"type": "boolean"}),
    "TensorMetadata": _object(
        ("name", "datatype", "shape"), name=_STRING, datatype=_DATATYPE, shape=_SHAPE, parameters={"type": "object"}
    ),
    "ModelMetadata": _object(
        ("name", "versions", "platform", "inputs", "outputs"),
        name=_STRING,
        versions=_STRINGS,
        platform=_STRING,
        inputs={"type": "array", "items": _ref("TensorMetadata")},
        outputs={"type": "array", "items": _ref("TensorMetadata")},
        properties={"type": "object", "additionalProperties": _STRING},
    ),
    "Tensor": _object(
        ("name", "datatype", "shape", "data"),
        name=_STRING,
        datatype=_DATATYPE,
        shape={"type": "array", "items": {"type": "integer", "minimum": 0}},
        parameters=_PARAMETERS,
        data=_DATA,
    ),
    "InferRequest": _object(
        ("inputs",),
        id={"type": ["string", "null"]},
        parameters=_PARAMETERS,
        inputs={"type": "array", "minItems": 1, "items": _ref("Tensor")},
        outputs={"type": ["array", "null"], "items": _object(("name",), name=_STRING, parameters=_PARAMETERS)},
    ),
    "InferResponse": _object(
        ("model_name", "outputs"),
        id=_STRING,
        model_name=_STRING,
        model_version=_STRING,
        outputs={"type": "array", "items": _ref("Tensor")},
    ),
    "LoadRequest": _object(
        (),
        parameters={
            "type": ["object", "null"],
            "properties": {
                "config": {"type": "string", "description": "A model configuration in Triton's words: JSON in a string."}
            },
            "additionalProperties": False,
        },
    ),
    "UnloadRequest": _object((), parameters=_PARAMETERS | {"type": ["object", "null"]}),
    "ModelConfiguration": _object(
        ("name", "platform", "max_batch_size", "input", "output", "version_policy"),
        name=_STRING,
        platform=_STRING,
        backend=_STRING,
        max_batch_size=_COUNT,
        input={"type": "array", "items": _ref("TensorConfiguration")},
        output={"type": "array", "items": _ref("TensorConfiguration")},
        version_policy={"type": "object"},
        instance_group={"type": "array", "items": {"type": "object"}},
        dynamic_batching={"type": "object"},
    ),
    "TensorConfiguration": _object(
        ("name", "data_type", "dims"), name=_STRING, data_type=_STRING, dims={"type": "array", "items": {"type": "integer"}}
    ),
    "ModelStatistics": _object(("model_stats",), model_stats={"type": "array", "items": _ref("VersionStatistics")}),
    "VersionStatistics": _object(
        ("name", "version", "last_inference", "inference_count", "execution_count", "inference_stats", "batch_stats"),
        name=_STRING,
        version=_STRING,
        last_inference=_COUNT,
        inference_count=_COUNT,
        execution_count=_COUNT,
        inference_stats={"type": "object", "additionalProperties": _DURATION},
        response_stats={"type": "object"},
        batch_stats={"type": "array", "items": {"type": "object"}},
        memory_usage={"type": "array", "items": {"type": "object"}},
    ),
    "VersionStatus": _object(
        ("name", "state"),
        name=_STRING,
        version=_STRING,
        state={"type": "string", "enum": [state.value for state in State]},
        reason=_STRING,
    ),
}
