"""Proof that the ONNX graph computes what the Keras model computes, on the engine that will serve it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import onnxruntime

from service.repository.manifest import Parity
from service.repository.signature import Signature
from training.datasets import Rows
from training.errors import ExportFailed, ParityFailed
from training.evaluation import predict

# One row, two, an odd few, and a full batch: what only works for the traced size fails at one of them.
BATCH_SIZES: Final = (1, 2, 7, 64)

Array = np.ndarray[Any, Any]


def prove_parity(model: keras.Model, graph: Path, signature: Signature, rows: Rows, *, tolerance: float) -> Parity:
    """Compare `graph` with `model` on edge rows and on `rows`, at each of BATCH_SIZES; the largest error is the certificate.

    Raises ParityFailed if it is above `tolerance` or no number, ExportFailed if onnxruntime refuses the graph.
    """
    session = open_graph(graph)
    pool = {spec.name: _with_edges(rows.inputs[spec.name], spec.value_range) for spec in signature.inputs}
    names = [spec.name for spec in signature.outputs]
    largest = 0.0
    for size in BATCH_SIZES:
        batch = {name: np.resize(array, (size, *array.shape[1:])) for name, array in pool.items()}
        for name, ours, theirs in zip(names, run_graph(session, names, batch), [predict(model, batch)], strict=True):
            error = float(np.max(np.abs(ours.astype(np.float64) - theirs)))
            if not error <= tolerance:
                raise ParityFailed(name, size, error, tolerance)
            largest = max(largest, error)
    return Parity(tolerance=tolerance, max_abs_error=largest, batch_sizes=BATCH_SIZES)


def open_graph(graph: Path) -> onnxruntime.InferenceSession:
    """Load a graph on the CPU. Raises ExportFailed if onnxruntime refuses it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised; the log would say it twice
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class for each of its status codes, all of them plain Exceptions
        raise ExportFailed(f"onnxruntime refuses the graph: {error}") from error


def run_graph(session: onnxruntime.InferenceSession, outputs: list[str], inputs: Mapping[str, Array]) -> list[Array]:
    """Run one batch and return the named outputs."""
    results: list[Array] = session.run(outputs, dict(inputs))
    return results


def _with_edges(rows: Array, value_range: tuple[float, float] | None) -> Array:
    """Put rows of nothing but the smallest and the largest value in front of real ones."""
    if value_range is None:
        return rows
    edges = [np.full_like(rows[:1], edge) for edge in value_range]
    return np.concatenate([*edges, rows])
