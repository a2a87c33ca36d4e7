"""Features in front of a network: two graphs become one that is served."""

from collections.abc import Iterator
from typing import Final, Protocol

import onnx
from onnx import external_data_helper

from service.repository.signature import TensorSpec
from training.errors import ExportFailed, FeatureError
from training.features.graph import ML_OPSET

_OPSETS: Final = range(15, 19)


class FrontGraph(Protocol):
    """What is put in front."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The raw columns."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The inputs of the network."""

    def model(self, *, opset: int, ml_opset: int, ir_version: int) -> onnx.ModelProto:
        """Build the graph for these versions."""


def merged(front: FrontGraph, network: onnx.ModelProto) -> onnx.ModelProto:
    """Return a checked graph: the raw columns in, the network's outputs out. Raises ExportFailed if the two do not fit.

    Weights of the network that stand in a file beside it are left there.
    """
    _require_names(front, network)
    opsets = {entry.domain: entry.version for entry in network.opset_import}
    if opsets.get("") not in _OPSETS:
        raise ExportFailed(f"the network has opset {opsets.get('')}; features in front of it expect 15 to 18. Set export.opset.")
    model = front.model(opset=opsets[""], ml_opset=opsets.get("ai.onnx.ml", ML_OPSET), ir_version=network.ir_version)
    whole = onnx.compose.merge_models(
        model,
        _without_external(network),
        io_map=[(spec.name, spec.name) for spec in front.outputs],
        name=network.graph.name,
        producer_name=network.producer_name,
        producer_version=network.producer_version,
    )
    versions = {entry.domain: entry.version for entry in whole.opset_import}
    del whole.opset_import[:]
    whole.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in versions.items())
    onnx.checker.check_model(whole, full_check=True)
    return _with_external(whole, network)


def _without_external(network: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with inputs in place of weights in another file, which no graph in memory may refer to."""
    bare = onnx.ModelProto()
    bare.CopyFrom(network)
    del bare.graph.initializer[:]
    for weight in network.graph.initializer:
        if external_data_helper.uses_external_data(weight):
            bare.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
        else:
            bare.graph.initializer.append(weight)
    return bare


def _with_external(whole: onnx.ModelProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """Put those weights back in the place of the inputs."""
    external = [weight for weight in network.graph.initializer if external_data_helper.uses_external_data(weight)]
    names = {weight.name for weight in external}
    inputs = [tensor for tensor in whole.graph.input if tensor.name not in names]
    del whole.graph.input[:]
    whole.graph.input.extend(inputs)
    whole.graph.initializer.extend(external)
    return whole


def _require_names(front: FrontGraph, network: onnx.ModelProto) -> None:
    wanted, given = {tensor.name for tensor in network.graph.input}, {spec.name for spec in front.outputs}
    if wanted != given:
        raise ExportFailed(f"the features give {sorted(given)}, but the network takes {sorted(wanted)}. Build it on their outputs.")
    inside = set(_names(network.graph))
    for column in front.inputs:
        if column.name in inside:
            raise FeatureError(column.name, "has the name of a tensor inside the network. Rename the column, or the output.")


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Give the names of all tensors, those of loop bodies and branches too."""
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (*node.input, *node.output)
        for attribute in node.attribute:
            for inner in (*attribute.graphs, attribute.g):
                yield from _names(inner)
