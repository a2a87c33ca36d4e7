"""Networks with random weights, to measure with: what counts is their shape."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # width and blocks of the stages of ResNet-50
_EXPANSION = 4


class Network:
    """A graph that grows layer by layer; every method takes the name of a tensor and gives that of the next."""

    def __init__(self, dtype: type[np.floating[Any]] = np.float32) -> None:
        self._dtype = dtype
        self._random = np.random.default_rng(50)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def operator(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node."""
        name = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def dense(self, x: str, inputs: int, units: int) -> str:
        """Add a fully connected layer."""
        return self.operator("Gemm", x, self._weight((inputs, units), inputs), self._weight((units,), 10**4))

    def convolution(self, x: str, channels: int, filters: int, size: int, stride: int = 1) -> str:
        """Add a convolution of `size` x `size` that keeps the picture's size, but for the stride."""
        weights = self._weight((filters, channels, size, size), channels * size * size), self._weight((filters,), 10**4)
        return self.operator("Conv", x, *weights, strides=[stride] * 2, pads=[size // 2] * 4)

    def bottleneck(self, x: str, channels: int, width: int, stride: int) -> str:
        """Add three convolutions and a way around them."""
        y = self.operator("Relu", self.convolution(x, channels, width, 1))
        y = self.operator("Relu", self.convolution(y, width, width, 3, stride))
        y = self.convolution(y, width, width * _EXPANSION, 1)
        around = x if channels == width * _EXPANSION else self.convolution(x, channels, width * _EXPANSION, 1, stride)
        return self.operator("Relu", self.operator("Add", y, around))

    def model(self, last: str, row: tuple[int, ...], classes: int) -> onnx.ModelProto:
        """End with probabilities `y` for rows `x`."""
        self._nodes.append(helper.make_node("Softmax", [last], ["y"]))
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self._dtype))
        inputs = [helper.make_tensor_value_info("x", kind, ["n", *row])]
        outputs = [helper.make_tensor_value_info("y", kind, ["n", classes])]
        graph = helper.make_graph(self._nodes, "network", inputs, outputs, self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

    def _weight(self, shape: tuple[int, ...], fan_in: int) -> str:
        name = f"w{len(self._weights)}"
        values = self._random.standard_normal(shape) * (2 / fan_in) ** 0.5
        self._weights.append(numpy_helper.from_array(values.astype(self._dtype), name))
        return name


def mlp() -> onnx.ModelProto:
    """Build 4 -> 16 -> 16 -> 3."""
    net = Network()
    y = net.operator("Relu", net.dense("x", 4, 16))
    y = net.operator("Relu", net.dense(y, 16, 16))
    return net.model(net.dense(y, 16, 3), (4,), 3)


def cnn() -> onnx.ModelProto:
    """Build a network for grey pictures of 28 x 28 with 220,000 parameters."""
    net = Network()
    y = net.operator("Relu", net.convolution("x", 1, 32, 3))
    y = net.operator("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = net.operator("Relu", net.convolution(y, 32, 64, 3))
    y = net.operator("Flatten", net.operator("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]))
    return net.model(net.dense(net.operator("Relu", net.dense(y, 64 * 7 * 7, 64)), 64, 10), (1, 28, 28), 10)


def resnet50(dtype: type[np.floating[Any]] = np.float32) -> onnx.ModelProto:
    """Build a network in the shape of ResNet-50, its normalisations already folded into the convolutions."""
    net = Network(dtype)
    y = net.operator("Relu", net.convolution("x", 3, 64, 7, 2))
    y = net.operator("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for width, blocks in _STAGES:
        for index in range(blocks):
            y = net.bottleneck(y, channels, width, 2 if index == 0 and width > _STAGES[0][0] else 1)
            channels = width * _EXPANSION
    y = net.operator("Flatten", net.operator("GlobalAveragePool", y))
    return net.model(net.dense(y, channels, 1000), (3, 224, 224), 1000)


def heavy(megabytes: int = 100) -> onnx.ModelProto:
    """Build ten wide layers that weigh so much together."""
    net = Network()
    units = int((megabytes * 1e6 / 4 / 10) ** 0.5)
    y = net.dense("x", 4, units)
    for _ in range(10):
        y = net.operator("Relu", net.dense(y, units, units))
    return net.model(net.dense(y, units, 3), (4,), 3)


NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[int, ...]]] = {
    "mlp": (mlp, (4,)),
    "cnn": (cnn, (1, 28, 28)),
    "resnet50": (resnet50, (3, 224, 224)),
    "heavy": (heavy, (4,)),
}
