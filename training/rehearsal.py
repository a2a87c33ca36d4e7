"""Export the untrained network first: what cannot be exported is refused in seconds, not after hours of fitting."""

import keras

from service.repository.layout import GRAPH_NAME
from service.repository.signature import Signature
from training.edge_rows import random_rows
from training.export import export
from training.export.exporter import MEMORY_LIMIT_MB
from training.parity import open_graph, run_graph
from training.scratch import export_scratch


def rehearse_export(model: keras.Model, signature: Signature, opset: int, *, memory_limit_mb: int = MEMORY_LIMIT_MB) -> None:
    """Export `model` to nowhere and run the graph in onnxruntime on one row and on two. Raises ExportFailed.

    Neither the weights nor the state of any random generator changes. Whether the numbers are right is shown after the fit.
    """
    with export_scratch() as scratch:
        graph = scratch / GRAPH_NAME
        export(model, signature, graph, opset=opset, memory_limit_mb=memory_limit_mb)
        session = open_graph(graph)
        for count in (1, 2):
            run_graph(session, [spec.name for spec in signature.outputs], random_rows(signature, count, seed=0))
