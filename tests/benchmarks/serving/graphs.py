"""The three models of the benchmark, with random weights: what they compute does not matter, how much they compute does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
OPSET: Final = 18
# Stages of ResNet-50: blocks, channels inside a block, channels after it.
STAGES: Final = ((3, 64, 256), (4, 128, 512), (6, 256, 1024), (3, 512, 2048))
SHAPES: Final[Mapping[str, tuple[int, ...]]] = {"mlp": (4,), "cnn": (28, 28, 1), "resnet50": (224, 224, 3)}


class Network:
    """Puts layers one after another; each method adds one and gives the name of its output."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: Sequence[str], **attributes: object) -> str:
        """Add any operator with one output."""
        name = f"h{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def dense(self, values: str, size: int, units: int) -> str:
        """Add a fully connected layer."""
        return self.node("Gemm", [values, self._weight((size, units), fan_in=size), self._zeros(units)])

    def convolution(self, values: str, channels: int, filters: int, *, kernel: int, stride: int = 1, pad: int = 0) -> str:
        """Add a square convolution with a bias, as what is left of convolution and batch normalisation once they are folded."""
        weight = self._weight((filters, channels, kernel, kernel), fan_in=channels * kernel * kernel)
        sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        return self.node("Conv", [values, weight, self._zeros(filters)], **sizes)

    def model(self, inputs: Sequence[int], output: str, units: int) -> onnx.ModelProto:
        """Close the network: x[-1, *inputs] to y[-1, units], probabilities."""
        self.nodes.append(helper.make_node("Softmax", [output], ["y"], axis=1))
        graph = helper.make_graph(
            self.nodes,
            "benchmark",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *inputs])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", units])],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def _weight(self, shape: Sequence[int], *, fan_in: int) -> str:
        return self._keep(self._generator.normal(scale=np.sqrt(2 / fan_in), size=shape))

    def _zeros(self, size: int) -> str:
        return self._keep(np.zeros(size))

    def _keep(self, values: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name


def mlp() -> onnx.ModelProto:
    """Build 4-16-16-3: the run costs next to nothing, so everything around it shows."""
    network = Network()
    values = network.node("Relu", [network.dense("x", 4, 16)])
    values = network.node("Relu", [network.dense(values, 16, 16)])
    return network.model(SHAPES["mlp"], network.dense(values, 16, 3), 3)


def cnn() -> onnx.ModelProto:
    """Build a classifier of grey pictures, 28 x 28 x 1, as Keras would export it: 225,034 parameters."""
    network = Network()
    values = network.node("Transpose", ["x"], perm=[0, 3, 1, 2])
    for channels, filters in ((1, 32), (32, 64)):
        values = network.node("Relu", [network.convolution(values, channels, filters, kernel=3)])
        values = network.node("MaxPool", [values], kernel_shape=[2, 2], strides=[2, 2])
    values = network.dense(network.node("Flatten", [values]), 1600, 128)
    return network.model(SHAPES["cnn"], network.dense(network.node("Relu", [values]), 128, 10), 10)


def resnet50() -> onnx.ModelProto:
    """Build the shape of ResNet-50 for 224 x 224 x 3, normalisations folded: 25.5 million parameters."""
    network = Network()
    values = network.node("Transpose", ["x"], perm=[0, 3, 1, 2])
    values = network.node("Relu", [network.convolution(values, 3, 64, kernel=7, stride=2, pad=3)])
    values = network.node("MaxPool", [values], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (blocks, inner, outer) in enumerate(STAGES):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            values = _bottleneck(network, values, channels, inner, outer, stride)
            channels = outer
    values = network.node("Flatten", [network.node("GlobalAveragePool", [values])])
    return network.model(SHAPES["resnet50"], network.dense(values, channels, 1000), 1000)


def write(name: str, repository: Path) -> Path:
    """Write a model as version 1 of a bare repository and return its graph's path."""
    path = repository / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(BUILDERS[name]().SerializeToString())
    return path


def _bottleneck(network: Network, values: str, channels: int, inner: int, outer: int, stride: int) -> str:
    inside = network.node("Relu", [network.convolution(values, channels, inner, kernel=1)])
    inside = network.node("Relu", [network.convolution(inside, inner, inner, kernel=3, stride=stride, pad=1)])
    inside = network.convolution(inside, inner, outer, kernel=1)
    if channels != outer or stride != 1:
        values = network.convolution(values, channels, outer, kernel=1, stride=stride)
    return network.node("Relu", [network.node("Add", [values, inside])])


BUILDERS: Final = {"mlp": mlp, "cnn": cnn, "resnet50": resnet50}
