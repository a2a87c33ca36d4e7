"""The front graph under construction: ONNX nodes and constants, each under a name of its own.

Every operator used has the same meaning in the opsets 15 to 18 of `ai.onnx` and 2 to 3 of `ai.onnx.ml`, so the graph takes the
opsets of the network that it is merged with. `Tokenizer`, the one operator of onnxruntime's own, is explained in text.py.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.repository.datatypes import Datatype, to_numpy
from service.repository.signature import TensorSpec

PREFIX: Final = "features/"
BATCH_AXIS: Final = "batch"
OPSET: Final = 18
ML_OPSET: Final = 3
IR_VERSION: Final = 8

_DOMAINS: Final = {"LabelEncoder": "ai.onnx.ml", "Tokenizer": "com.microsoft"}

Array = np.ndarray[Any, Any]


class Graph:
    """Nodes in the order in which they run. The methods return the name of the tensor that they add."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._types: list[onnx.ValueInfoProto] = []

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401 -- ONNX attributes
        """Add one node with one output."""
        name = f"{PREFIX}{operator}_{len(self._nodes)}"
        domain = _DOMAINS.get(operator, "")
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def constant(self, values: Any, dtype: Any) -> str:  # noqa: ANN401 -- whatever numpy takes
        """Add a constant, or find the one with the same numbers."""
        array = np.asarray(values, dtype=dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(array, f"{PREFIX}constant_{len(self._constants)}")
        return str(self._constants[key].name)

    def cast(self, tensor: str, dtype: Any) -> str:  # noqa: ANN401 -- whatever numpy takes
        """Convert to a numpy type."""
        return self.node("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def column(self, tensor: str) -> str:
        """[batch] -> [batch, 1]."""
        return self.node("Reshape", tensor, self.constant([-1, 1], np.int64))

    def strings(self, tensor: str, rank: int) -> str:
        """Declare what onnx cannot infer behind onnxruntime's own operators: a tensor of strings."""
        self._types.append(helper.make_tensor_value_info(tensor, TensorProto.STRING, [None] * rank))
        return tensor

    def alias(self, tensor: str, name: str) -> None:
        """Give a tensor the name of an output."""
        self._nodes.append(helper.make_node("Identity", [tensor], [name], name=f"{PREFIX}{name}"))

    def model(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        opset: int = OPSET,
        ml_opset: int = ML_OPSET,
        ir_version: int = IR_VERSION,
    ) -> onnx.ModelProto:
        """Close the graph; nodes and constants that no output depends on are left out."""
        nodes = _needed(self._nodes, {spec.name for spec in outputs})
        read = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            "features",
            [_described(spec) for spec in inputs],
            [_described(spec) for spec in outputs],
            initializer=[constant for constant in self._constants.values() if constant.name in read],
            value_info=[tensor for tensor in self._types if tensor.name in read],
        )
        versions = {"": opset, "ai.onnx.ml": ml_opset, "com.microsoft": 1}
        used = {"", *(node.domain for node in nodes)}
        opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items() if domain in used]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name="axon")


def _needed(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Leave out the nodes that no output depends on."""
    read, needed = set(outputs), []
    for node in reversed(nodes):
        if read.intersection(node.output):
            needed.append(node)
            read.update(node.input)
    return needed[::-1]


def _described(spec: TensorSpec) -> onnx.ValueInfoProto:
    shape = [BATCH_AXIS, *(size if size >= 0 else None for size in spec.shape[1:])]
    return helper.make_tensor_value_info(spec.name, _element(spec.datatype), shape)


def _element(datatype: Datatype) -> int:
    if datatype == "BYTES":
        return int(TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(to_numpy(datatype)))
