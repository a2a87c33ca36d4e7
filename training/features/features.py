"""The preprocessing of a model: one ONNX graph, from the raw columns to what the network takes.

There is no other implementation of it: training transforms its rows with this graph, and the served model has it in front.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import msgspec
import numpy as np
import onnx

from service.repository.datatypes import to_numpy
from service.repository.signature import TensorSpec
from training.errors import DatasetError, FeatureError
from training.features.dense import build_dense
from training.features.encoding import Fitted
from training.features.graph import IR_VERSION, ML_OPSET, OPSET, PREFIX, Graph
from training.features.merging import merged
from training.features.running import Runner

DENSE: Final = "dense"

Array = np.ndarray[Any, Any]


class Features:
    """Fitted columns. `inputs` describes the raw columns, `outputs` what the network takes; both are in the graph's order.

    `remarks` are what the owner of the data should be told of columns that the spec does not name.

    Raises DatasetError if nothing is left for the network, FeatureError if the name of a column is taken.
    """

    def __init__(self, inputs: tuple[TensorSpec, ...], fitted: tuple[Fitted, ...], remarks: tuple[str, ...] = ()) -> None:
        self.inputs: Final = inputs
        self.remarks: Final = remarks
        self._fitted: Final = fitted
        self.outputs: Final = _outputs(fitted)
        taken = {spec.name for spec in self.outputs}
        for column in inputs:
            if column.name in taken or column.name.startswith(PREFIX):
                raise FeatureError(column.name, "has a name that the network's inputs need. Rename the column.")
        if not self.outputs:
            raise DatasetError("The features leave out every column; expected one at least. Take kind = 'ignored' from a column.")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the entries of `dense`, in their order."""
        return tuple(name for column in self._fitted for name in column.names)

    @property
    def embedding_dimensions(self) -> dict[str, int]:
        """Size of the vectors for each output that holds ids, by its name; the ids lie in its `value_range`."""
        return {column.output.name: column.dimension for column in self._fitted if column.output and column.dimension}

    @property
    def description(self) -> dict[str, Any]:
        """What was fitted, by column, in types that JSON has."""
        return {column.column: msgspec.json.decode(msgspec.json.encode(column)) for column in self._fitted}

    def model(self, *, opset: int = OPSET, ml_opset: int = ML_OPSET, ir_version: int = IR_VERSION) -> onnx.ModelProto:
        """Build the graph; its outputs have the names of the network's inputs."""
        graph = Graph()
        for column in self._fitted:
            if column.output is not None:
                graph.alias(column.build(graph, column.column), column.output.name)
        if dense := [column for column in self._fitted if column.output is None]:
            graph.alias(build_dense(graph, dense, {column.name: column.datatype for column in self.inputs}), DENSE)
        return graph.model(self.inputs, self.outputs, opset=opset, ml_opset=ml_opset, ir_version=ir_version)

    def transform(self, rows: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph on raw columns of any number of rows; columns that it does not take are left aside.

        Raises FeatureError if a column is missing, or is not of the type and shape that were fitted.
        """
        results = self._runner.run({column.name: _checked(column, rows) for column in self.inputs})
        return {spec.name: result for spec, result in zip(self.outputs, results, strict=True)}

    def merged_into(self, network: onnx.ModelProto) -> onnx.ModelProto:
        """Put the graph in front of a network that takes `outputs`, by their names: raw columns in, its outputs out.

        The graph takes the network's IR version and opsets. Raises ExportFailed if the two do not fit, FeatureError if a column's
        name is taken.
        """
        return merged(self, network)

    @cached_property
    def _runner(self) -> Runner:
        return Runner(self.model())


def _outputs(fitted: tuple[Fitted, ...]) -> tuple[TensorSpec, ...]:
    """Put the dense features first, then the tensors of single columns."""
    names = tuple(name for column in fitted for name in column.names)
    dense = [TensorSpec(name=DENSE, datatype="FP32", shape=(-1, len(names)), features=names)] if names else []
    return (*dense, *(column.output for column in fitted if column.output is not None))


def _checked(column: TensorSpec, rows: Mapping[str, Array]) -> Array:
    if column.name not in rows:
        raise FeatureError(column.name, f"is missing; expected it among the columns {', '.join(rows)}.")
    values = rows[column.name]
    values = values.astype(object) if values.dtype.kind in "SU" else values
    if not column.accepts(values.shape):
        raise FeatureError(column.name, f"has the shape {list(values.shape)}; expected {list(column.shape)}, -1 being any size.")
    if values.dtype != to_numpy(column.datatype):
        raise FeatureError(column.name, f"has the type {values.dtype}; expected {column.datatype}, as in the training rows.")
    return values
