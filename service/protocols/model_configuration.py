"""The model configuration extension: how a version is served, in the words of Triton's model configuration, and back.

Fields: triton-inference-server/common, protobuf/model_config.proto. Only what means the same here is given or taken.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec

from service.errors import InvalidRequest, shown
from service.inference.served_model import ServedModel
from service.repository.configuration import All, Batching, Latest, ModelConfiguration
from service.repository.signature import TensorSpec

PLATFORM: Final = "onnxruntime_onnx"
BACKEND: Final = "onnxruntime"
_MICROSECONDS: Final = 1e6
_TYPES: Final = {"BYTES": "TYPE_STRING"}
_Kind = TypeVar("_Kind")
_SETTABLE: Final = ("max_batch_size", "dynamic_batching", "version_policy")


def model_configuration(model: ServedModel) -> dict[str, Any]:
    """Return the configuration object of a version that serves."""
    batching = model.configuration.batching
    gpu = any(provider.startswith(("CUDA", "Tensorrt", "ROCM")) for provider in model.providers)
    kind = "KIND_GPU" if gpu else "KIND_CPU"
    found: dict[str, Any] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": BACKEND,
        "version_policy": _version_policy(model.configuration),
        "max_batch_size": batching.max_batch_size if model.rows_count else 0,
        "input": [_tensor(spec, batched=model.rows_count) for spec in model.signature.inputs],
        "output": [_tensor(spec, batched=model.rows_count) for spec in model.signature.outputs],
        "instance_group": [{"name": f"{model.name}_0", "kind": kind, "count": model.grant.instances, "gpus": [0] if gpu else []}],
        "default_model_filename": "model.onnx",
        "response_cache": {"enable": model.configuration.cache.max_bytes > 0},
        "model_transaction_policy": {"decoupled": False},
    }
    if model.batched:
        found["dynamic_batching"] = _dynamic_batching(batching, model)
    return found


def load_override(parameters: Mapping[str, Any], name: str, serving: ServedModel | None) -> dict[str, Any] | None:
    """Return what the parameters of a load call set, in the words of model.toml; None if nothing. Raises InvalidRequest."""
    for key in parameters:
        if key.startswith("file:"):
            raise InvalidRequest(f"'{shown(key)}': this server takes no files. Put them into the model repository.")
        if key != "config":
            raise InvalidRequest(f"The parameter '{shown(key)}' is not known. A load call takes 'config'.")
    if "config" not in parameters:
        return None
    text = parameters["config"]
    if not isinstance(text, str):
        raise InvalidRequest("The parameter 'config' must be a string, the JSON of a model configuration.")
    return _override(text, name, model_configuration(serving) if serving else {})


def _override(text: str, name: str, current: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a configuration as a load call gives it, JSON in a string, into the words of model.toml.

    What is as in the `current` configuration object, empty if the model does not serve, changes nothing and is accepted.
    Raises InvalidRequest for anything that has no meaning here: nothing is left out silently.
    """
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The parameter 'config' is not JSON: {error}.") from None
    if not isinstance(given, dict):
        raise InvalidRequest("The parameter 'config' must be a JSON object in a string, a model configuration.")
    for key, expected in (("name", name), ("platform", PLATFORM), ("backend", BACKEND)):
        if given.pop(key, expected) not in (expected, ""):
            raise InvalidRequest(f"'{key}' in the configuration must be '{expected}', or be left out.")
    as_now = msgspec.json.decode(msgspec.json.encode(current))
    wanted = {key: value for key, value in given.items() if value or key == "max_batch_size"}
    for key, value in wanted.items():
        if key not in _SETTABLE and value != as_now.get(key):
            raise InvalidRequest(f"'{shown(key)}' in the configuration cannot be set here. What can: {', '.join(_SETTABLE)}.")
    override: dict[str, Any] = {}
    batching = _batching(wanted)
    if batching:
        override["batching"] = batching
    if "version_policy" in wanted:
        override["versions"] = _versions(wanted["version_policy"])
    return override


def _tensor(spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    dims = spec.shape[1:] if batched else spec.shape
    tensor = {"name": spec.name, "data_type": _TYPES.get(spec.datatype, f"TYPE_{spec.datatype}"), "dims": dims or (1,)}
    return tensor if dims else tensor | {"reshape": {"shape": []}}


def _version_policy(configuration: ModelConfiguration) -> dict[str, Any]:
    versions = configuration.versions
    if isinstance(versions, Latest):
        return {"latest": {"num_versions": versions.count}}
    return {"all": {}} if isinstance(versions, All) else {"specific": {"versions": versions.numbers}}


def _dynamic_batching(batching: Batching, model: ServedModel) -> dict[str, Any]:
    return {
        "preferred_batch_size": [model.merged_rows],
        "max_queue_delay_microseconds": round(batching.max_queue_delay * _MICROSECONDS),
        "priority_levels": batching.priority_levels,
        "default_priority_level": batching.default_priority_level,
        "default_queue_policy": {"max_queue_size": model.max_queue_size},
    }


def _batching(given: dict[str, Any]) -> dict[str, Any]:
    batching: dict[str, Any] = {}
    if given.get("max_batch_size"):
        batching["max_batch_size"] = given["max_batch_size"]
    elif "max_batch_size" in given:
        batching["enabled"] = False  # 0: every request is a run of its own
    if "dynamic_batching" in given:
        batching |= _convert(given["dynamic_batching"], _DynamicBatching, "dynamic_batching").as_batching()
    return batching


class _QueuePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_queue_size: int = 0


class _DynamicBatching(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    preferred_batch_size: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    max_queue_delay_microseconds: int = 0
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: _QueuePolicy = _QueuePolicy()

    def as_batching(self) -> dict[str, Any]:
        found: dict[str, float] = {
            "max_queue_delay": self.max_queue_delay_microseconds / _MICROSECONDS,
            "priority_levels": self.priority_levels,
            "default_priority_level": self.default_priority_level,
        }
        queue = self.default_queue_policy.max_queue_size
        if self.preferred_batch_size:
            found["preferred_batch_size"] = max(self.preferred_batch_size)
        return found | ({"max_queue_size": queue} if queue else {})


class _Latest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    num_versions: int = 1


class _Specific(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    versions: tuple[int, ...]


class _Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    latest: _Latest | None = None
    all: dict[str, Any] | None = None
    specific: _Specific | None = None


def _versions(given: Any) -> dict[str, Any]:  # noqa: ANN401 -- any JSON
    policy = _convert(given, _Policy, "version_policy")
    if policy.specific is not None:
        return {"policy": "specific", "numbers": list(policy.specific.versions)}
    if policy.latest is not None:
        return {"policy": "latest", "count": policy.latest.num_versions}
    return {"policy": "all"}


def _convert(value: Any, kind: type[_Kind], key: str) -> _Kind:  # noqa: ANN401 -- any JSON
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"'{key}' in the configuration: {error}.") from None
