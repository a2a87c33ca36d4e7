"""Runs front graphs in onnxruntime, the engine that serves them; fitting and transforming have no other arithmetic."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime

from service.repository.signature import TensorSpec
from training.features.graph import PREFIX, Graph

Array = np.ndarray[Any, Any]


class Runner:
    """A graph loaded on the CPU."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised; the log would say it twice
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run one batch and return all outputs, in the graph's order."""
        results: list[Array] = self._session.run(None, dict(inputs))
        return results


def evaluate(build: Callable[[Graph, str], str], column: TensorSpec, values: Array, result: TensorSpec) -> Array:
    """Run a part of a graph on one column: what the served graph will compute there, while it is still being fitted."""
    graph = Graph()
    output = msgspec.structs.replace(result, name=f"{PREFIX}result")
    graph.alias(build(graph, column.name), output.name)
    (computed,) = Runner(graph.model([column], [output])).run({column.name: values})
    return computed
