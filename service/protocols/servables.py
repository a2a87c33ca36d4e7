"""TensorFlow Serving's model status and metadata, from what the registry knows.

Rules: github.com/tensorflow/serving, tensorflow_serving/apis/get_model_status.proto and get_model_metadata.proto.
"""

from collections.abc import Iterable
from typing import Any, Final

from service.protocols.tensorflow_serving import SIGNATURE_NAME
from service.repository.signature import Signature, TensorSpec

_STATES: Final = {"LOADING": "LOADING", "READY": "AVAILABLE", "UNLOADING": "UNLOADING", "UNAVAILABLE": "END"}
_TYPES: Final = {"FP16": "DT_HALF", "FP32": "DT_FLOAT", "FP64": "DT_DOUBLE", "BYTES": "DT_STRING", "BF16": "DT_BFLOAT16"}


def status(name: str, versions: Iterable[tuple[str, str, str]], *, ready: bool) -> dict[str, Any]:
    """Return the status of versions, given as number, state and reason, the newest first; KServe's `name` and `ready` beside it."""
    return {
        "name": name,
        "ready": ready,
        "model_version_status": [
            {
                "version": version,
                "state": _STATES[state],
                "status": {"error_code": "UNAVAILABLE" if reason else "OK", "error_message": reason},
            }
            for version, state, reason in sorted(versions, key=lambda found: -int(found[0]))
        ],
    }


def metadata(name: str, version: int, signature: Signature) -> dict[str, Any]:
    """Return the metadata of a version: its one signature, with sizes as strings as Protocol Buffers write 64 bits in JSON."""
    tensors = {
        "inputs": {spec.name: _tensor_info(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor_info(spec) for spec in signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE_NAME: tensors}}},
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    sizes = [{"size": str(size), "name": ""} for size in spec.shape]
    return {
        "dtype": _TYPES.get(spec.datatype, f"DT_{spec.datatype}"),
        "tensor_shape": {"dim": sizes, "unknown_rank": False},
        "name": spec.name,
    }
