"""ONNX forms of TensorFlow operations that tf2onnx 1.17 does not know, as its custom operator handlers.

Each takes tf2onnx's graph, the node to replace, its name and the extra arguments (none), and replaces the node in place.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper

Handler = Callable[..., None]


def _replace(graph: Any, node: Any, build: Callable[[str, Callable[[float], str]], tuple[str, list[str]]]) -> None:  # noqa: ANN401
    """Put the operator that `build` returns, with its inputs, in the place of `node`; the output keeps its name and type."""
    (output,), source = node.output, node.input[0]
    datatype, shape = graph.get_dtype(output), graph.get_shape(output)
    numpy_type = helper.tensor_dtype_to_np_dtype(graph.get_dtype(source))

    def constant(value: float) -> str:
        name: str = graph.make_const(f"{node.name}/constant", np.array(value, numpy_type)).output[0]
        return name

    graph.remove_node(node.name)
    operator, inputs = build(source, constant)
    graph.make_node(operator, inputs, outputs=[output], shapes=[shape], dtypes=[datatype], name=node.name)


def _erfc(graph: Any, node: Any, _name: str, _arguments: Any) -> None:  # noqa: ANN401
    """Erfc(x) = 1 - Erf(x); the exact gelu uses it."""
    _replace(graph, node, lambda x, constant: ("Sub", [constant(1), graph.make_node("Erf", [x]).output[0]]))


def _expm1(graph: Any, node: Any, _name: str, _arguments: Any) -> None:  # noqa: ANN401
    """Expm1(x) = Exp(x) - 1; celu uses it."""
    _replace(graph, node, lambda x, constant: ("Sub", [graph.make_node("Exp", [x]).output[0], constant(1)]))


def _log1p(graph: Any, node: Any, _name: str, _arguments: Any) -> None:  # noqa: ANN401
    """Log1p(x) = Log(1 + x)."""

    def build(x: str, constant: Callable[[float], str]) -> tuple[str, list[str]]:
        return "Log", [graph.make_node("Add", [x, constant(1)]).output[0]]

    _replace(graph, node, build)


def _bucketize(graph: Any, node: Any, _name: str, _arguments: Any) -> None:  # noqa: ANN401
    """Bucketize(x) counts the boundaries that are not above x; the Discretization layer uses it."""
    boundaries = np.asarray(node.get_attr_value("boundaries"), np.float32)
    (output,), source = node.output, node.input[0]
    datatype, shape = graph.get_dtype(output), graph.get_shape(output)
    limits = graph.make_const(f"{node.name}/boundaries", boundaries).output[0]
    axis = graph.make_const(f"{node.name}/axis", np.array([-1], np.int64)).output[0]
    graph.remove_node(node.name)
    values = graph.make_node("Cast", [source], attr={"to": TensorProto.FLOAT}).output[0]
    column = graph.make_node("Unsqueeze", [values, axis]).output[0]
    reached = graph.make_node("GreaterOrEqual", [column, limits]).output[0]
    counted = graph.make_node("Cast", [reached], attr={"to": datatype}).output[0]
    graph.make_node(
        "ReduceSum", [counted, axis], attr={"keepdims": 0}, outputs=[output], shapes=[shape], dtypes=[datatype], name=node.name
    )


HANDLERS: Final[dict[str, tuple[Handler, list[Any]]]] = {
    "Bucketize": (_bucketize, []),
    "Erfc": (_erfc, []),
    "Expm1": (_expm1, []),
    "Log1p": (_log1p, []),
}
