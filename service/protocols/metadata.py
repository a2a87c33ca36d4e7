"""What the server and its models are, as the Open Inference Protocol V2 has it over REST and gRPC."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from service.inference.served_model import ServedModel
from service.repository.datatypes import Datatype
from service.repository.signature import Signature, TensorSpec

PLATFORM: Final = "onnx_onnxv1"
# What of the protocol's extensions is there in full.
EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)


class TensorMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """An input or output as clients see it; `parameters` says what the numbers mean."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    parameters: dict[str, Any] = {}


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """Model metadata as the protocol has it; `properties`, strings by name, say how the model is run."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    properties: dict[str, str] = {}


def properties(model: ServedModel) -> dict[str, str]:
    """Say how many of a model's nodes each execution provider runs, with how many threads, and what it does without."""
    nodes = sum(model.nodes.values())
    shares = {f"nodes on {provider}": f"{count} of {nodes}" for provider, count in model.nodes.items()}
    missed = {"providers left out": " ".join(model.problems)} if model.problems else {}
    return {**shares, "instances": str(model.grant.instances), "threads of a run": str(model.grant.intra_op), **missed}


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
    return {"name": "axon", "version": version, "extensions": list(EXTENSIONS)}


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
