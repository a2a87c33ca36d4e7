"""The fitted network -> the graph that is served, from raw columns on, with the proof that it computes what Keras computes."""

from pathlib import Path

import keras
import msgspec
import onnx

from service.repository.layout import GRAPH_NAME
from service.repository.manifest import Parity
from training.datasets.dataset import Tensors
from training.export import Program, export, program_of
from training.export.exporter import graph_files
from training.parity import prove_parity
from training.preparation import Prepared
from training.spec.export import ExportSpec


class Proven(msgspec.Struct, frozen=True):
    """The files of a graph, `model.onnx` first, and the certificate of its parity with Keras."""

    graphs: tuple[Path, ...]
    parity: Parity


def export_and_prove(model: keras.Model, prepared: Prepared, spec: ExportSpec, raw: Tensors, directory: Path) -> Proven:
    """Write `model.onnx` into `directory` and compare it with Keras on `raw` rows and edge rows.

    Raises ExportFailed if the model has no ONNX form, ParityFailed if the graph computes something else.
    """
    graph = directory / GRAPH_NAME
    export(model, prepared.network, graph, opset=spec.opset, memory_limit_mb=spec.memory_limit_mb)
    if prepared.features is not None:  # weights beside the graph stay there
        onnx.save_model(prepared.features.merged_into(onnx.load(graph, load_external_data=False)), graph)
    program = program_of(model, prepared.network)
    rows = {tensor.name: raw[tensor.name] for tensor in prepared.served.inputs}
    reference = _Reference(program, prepared)
    parity = prove_parity(reference.run, graph, prepared.served, rows, tolerance=spec.parity_tolerance)
    return Proven(tuple(graph_files(graph)), parity)


class _Reference:
    """Keras behind the preprocessing, as the fit saw it."""

    def __init__(self, program: Program, prepared: Prepared) -> None:
        self._program = program
        self._prepared = prepared

    def run(self, raw: Tensors) -> Tensors:
        """Return the outputs for raw columns, by name."""
        return self._program.run(self._prepared.transform(raw))
