"""Weights into an ONNX graph that was converted without them: inside the file, or beside it as external data."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]

EXTERNAL_SUFFIX: Final = ".data"
_ALIGNMENT: Final = 4096  # bytes; onnxruntime maps pages of the file
_REARRANGED: Final = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def insert(model: onnx.ModelProto, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Take the inputs named as `weights` out of the graph; return the values of the initializers that it needs instead.

    What tf2onnx would have done to constants is done to the weights here: their transposes and reshapes are computed now.
    """
    graph = model.graph
    left = [tensor for tensor in graph.input if tensor.name not in weights]
    del graph.input[:]
    graph.input.extend(left)
    values = dict(weights)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    remaining = []
    for node in graph.node:  # in topological order
        if node.op_type in _REARRANGED and node.input[0] in values and all(name in constants for name in node.input[1:]):
            others = [numpy_helper.to_array(constants[name]) for name in node.input[1:]]
            values[node.output[0]] = _rearranged(node, values[node.input[0]], others)
        else:
            remaining.append(node)
    del graph.node[:]
    graph.node.extend(remaining)
    used = {name for node in all_nodes(graph) for name in node.input} | {tensor.name for tensor in graph.output}
    return {name: array for name, array in values.items() if name in used}


def _rearranged(node: onnx.NodeProto, value: Array, others: list[Array]) -> Array:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Transpose":
        return np.ascontiguousarray(np.transpose(value, attributes.get("perm")))
    if node.op_type == "Reshape":
        sizes = [value.shape[axis] if size == 0 else size for axis, size in enumerate(others[0].tolist())]
        return value.reshape(sizes)
    if node.op_type == "Squeeze":
        return np.squeeze(value, tuple(others[0].tolist()) if others else None)
    if node.op_type == "Unsqueeze":
        return np.expand_dims(value, tuple(others[0].tolist()))
    return value


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the bodies of its loops and branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from all_nodes(attribute.g)


def write(model: onnx.ModelProto, values: Mapping[str, Array], path: Path, *, external_from: int) -> None:
    """Write the graph with `values` as initializers; from `external_from` bytes on they go into `<path>.data`.

    One protobuf file cannot hold more than 2 GB. Raises OSError if the disk refuses.
    """
    if sum(value.nbytes for value in values.values()) < external_from:
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    else:
        beside = path.with_name(path.name + EXTERNAL_SUFFIX)
        with beside.open("wb") as stream:
            for name, value in values.items():
                stream.seek(-stream.tell() % _ALIGNMENT, 1)
                start = stream.tell()
                stream.write(np.ascontiguousarray(value).data)
                model.graph.initializer.append(_reference(name, value, beside.name, start))
    path.write_bytes(model.SerializeToString())


def _reference(name: str, value: Array, location: str, offset: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(value.dtype), dims=value.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, told in (("location", location), ("offset", offset), ("length", value.nbytes)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(told)
    return tensor
