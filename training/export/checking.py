"""The written graph must be valid ONNX and have exactly the declared tensors and operator set. Numbers are parity.py's."""

from pathlib import Path
from typing import Final

import onnx

from service.repository.datatypes import from_numpy
from service.repository.signature import Signature, TensorSpec
from training.errors import ExportFailed
from training.export.weights import all_nodes

BATCH_AXIS: Final = "batch"
_RANDOM: Final = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")


def declare_shapes(model: onnx.ModelProto, signature: Signature) -> None:
    """Name the batch axis, and fill in what tf2onnx could not infer of the other axes; parity shows that it is true."""
    for specs, tensors in ((signature.inputs, model.graph.input), (signature.outputs, model.graph.output)):
        for spec, tensor in zip(specs, tensors, strict=False):
            shape = tensor.type.tensor_type.shape
            if not shape.dim and len(spec.shape) > 0:
                shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in spec.shape)
            for place, (axis, size) in enumerate(zip(shape.dim, spec.shape, strict=False)):
                if place == 0:
                    axis.dim_param = BATCH_AXIS
                elif axis.dim_value <= 0:
                    _declare(axis, f"{spec.name}_axis_{place}", size)


def _declare(axis: onnx.TensorShapeProto.Dimension, name: str, size: int) -> None:
    if size == -1:
        axis.dim_param = name
    else:
        axis.dim_value = size


def check(model: onnx.ModelProto, path: Path, signature: Signature, opset: int) -> None:
    """Raise ExportFailed unless the graph at `path`, which is `model`, is what was declared."""
    for kind, specs, tensors in (
        ("input", signature.inputs, model.graph.input),
        ("output", signature.outputs, model.graph.output),
    ):
        declared, actual = [_described(spec) for spec in specs], [_found(tensor) for tensor in tensors]
        if declared != actual:
            raise ExportFailed(f"the graph has the {kind}s {', '.join(actual)}; expected {', '.join(declared)}.")
    dice = sorted({node.op_type for node in all_nodes(model.graph) if node.op_type in _RANDOM})
    if dice:
        raise ExportFailed(f"the graph is random at inference ({', '.join(dice)}). Let the layer that draws follow `training`.")
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written.get("") != opset:
        raise ExportFailed(f"the graph has opset {written.get('')}; expected {opset}.")
    try:
        onnx.checker.check_model(path, full_check=True)  # by its path, where external data is found and 2 GB are no limit
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportFailed(f"the graph is not valid ONNX: {error}") from error


def _described(spec: TensorSpec) -> str:
    inner = [f"{spec.name}_axis_{place}" if size == -1 else size for place, size in enumerate(spec.shape) if place]
    return f"{spec.name} {spec.datatype} {[BATCH_AXIS, *inner]}"


def _found(tensor: onnx.ValueInfoProto) -> str:
    kind = tensor.type.tensor_type
    datatype = from_numpy(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return f"{tensor.name} {datatype} {[axis.dim_param or axis.dim_value for axis in kind.shape.dim]}"
