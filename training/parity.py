"""Proof that the ONNX graph computes what the Keras model computes, on the engine that will serve it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from service.repository.manifest import Parity
from service.repository.signature import Signature
from training.edge_rows import edge_rows, large_rows
from training.errors import ExportFailed, ParityFailed

# One row, two, an odd few, and a full batch: what only works for the traced size fails at one of them.
BATCH_SIZES: Final = (1, 2, 7, 64)
_ALONE: Final = 8  # rows that are run alone and in a batch of 64

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]
Reference = Callable[[Tensors], Tensors]


def prove_parity(reference: Reference, graph: Path, signature: Signature, rows: Tensors, *, tolerance: float) -> Parity:
    """Compare the file `graph` with `reference` (`Program.run`, for example) at each of BATCH_SIZES; return the certificate.

    The rows are edge rows (zeros, extremes, unseen strings, very large numbers) and the first of `rows`. A difference counts as
    |onnx - keras| / max(1, the largest |keras| of the row); for very large inputs their size counts too, for rounding grows with
    it. Where Keras itself overflows or fails there is nothing to compare. Raises ParityFailed if a difference is above `tolerance`
    or no number, ExportFailed if onnxruntime refuses the graph, or Keras gives no number at all for an output.
    """
    session = open_graph(graph)
    comparison = _Comparison(session, reference, signature, tolerance)
    usual = _joined(edge_rows(signature, rows), rows)
    error = 0.0
    for size in BATCH_SIZES:
        error = max(error, comparison.largest_error(_batch(usual, size), size))
    comparison.require_numbers()
    comparison.try_large(large_rows(signature, rows))
    return Parity(
        tolerance=tolerance,
        max_abs_error=error,
        batch_sizes=BATCH_SIZES,
        rows=min(BATCH_SIZES[-1], _count(usual)) + 2,
        batch_invariance=_batch_invariance(session, signature, _batch(_joined(rows, usual), BATCH_SIZES[-1])),
    )


def open_graph(graph: Path) -> onnxruntime.InferenceSession:
    """Load a graph on the CPU. Raises ExportFailed if onnxruntime refuses it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised; the log would say it twice
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class for each of its status codes, all of them plain Exceptions
        raise ExportFailed(f"onnxruntime refuses the graph: {error}") from error


def run_graph(session: onnxruntime.InferenceSession, outputs: list[str], inputs: Tensors) -> list[Array]:
    """Run one batch and return the named outputs. Raises ExportFailed if the run fails."""
    try:
        results: list[Array] = session.run(outputs, dict(inputs))
    except Exception as error:  # as above
        raise ExportFailed(f"onnxruntime loads the graph but cannot run it: {error}") from error
    return results


class _Comparison:
    """Runs batches on both sides."""

    def __init__(self, session: onnxruntime.InferenceSession, reference: Reference, signature: Signature, tolerance: float) -> None:
        self._session = session
        self._reference = reference
        self._names = [spec.name for spec in signature.outputs]
        self._tolerance = tolerance
        self._without_number = set(self._names)

    def require_numbers(self) -> None:
        """Raise ExportFailed for an output of which there was nothing to compare: then nothing is proven."""
        if silent := [name for name in self._names if name in self._without_number]:
            raise ExportFailed(
                f"output '{silent[0]}' of the model itself holds no finite number on any row of the proof, so nothing can be "
                "compared. If its weights are NaN, train it again; else say with --value-range which numbers it expects."
            )

    def try_large(self, batch: Tensors) -> None:
        """Compare on very large numbers, if Keras takes them: ids given as floats, for example, end at their vocabulary."""
        try:
            self._reference(batch)
        except Exception:  # noqa: BLE001 -- TensorFlow's exceptions have no common base; without a reference there is no proof
            return
        self.largest_error(batch, _count(batch), magnitude=_magnitude(batch))

    def largest_error(self, batch: Tensors, size: int, magnitude: float = 1.0) -> float:
        """Return the largest difference of a batch of `size` rows. Raises ParityFailed if it is above the tolerance."""
        largest = 0.0
        expected = self._reference(batch)
        for name, ours in zip(self._names, run_graph(self._session, self._names, batch), strict=True):
            theirs = np.asarray(expected[name])
            if has_number(theirs):
                self._without_number.discard(name)
            error = difference(ours, theirs, magnitude)
            if not error <= self._tolerance:
                raise ParityFailed(name, size, error, self._tolerance)
            largest = max(largest, error)
        return largest


def difference(ours: Array, theirs: Array, magnitude: float = 1.0) -> float:
    """Return the largest |ours - theirs| / max(magnitude, the row's largest |theirs|); infinite where they are not comparable.

    Both are [rows, ...]. Entries of `theirs` that are no finite numbers are left out; strings are equal or not.
    """
    if ours.shape != theirs.shape or ours.dtype.kind != theirs.dtype.kind:
        return float("inf")
    if ours.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(ours, theirs) else float("inf")
    if not theirs.size:
        return 0.0
    wanted, got = (array.astype(np.float64).reshape(len(array), -1) for array in (theirs, ours))
    finite = np.isfinite(wanted)
    scale = np.maximum(magnitude, np.abs(np.where(finite, wanted, 0)).max(axis=1, keepdims=True))
    errors = np.abs(np.where(finite, got - np.where(finite, wanted, 0), 0)) / scale
    return float(np.max(np.where(np.isnan(errors), np.inf, errors)))


def has_number(array: Array) -> bool:
    """Tell whether there is something to compare: a finite number, or any text."""
    return bool(array.size if array.dtype.kind not in "fiub" else np.isfinite(array).any())


def _batch_invariance(session: onnxruntime.InferenceSession, signature: Signature, batch: Tensors) -> float:
    """Return the largest difference that it makes to a row's outputs whether it is run alone or in `batch`."""
    names = [spec.name for spec in signature.outputs]
    together = run_graph(session, names, batch)
    worst = 0.0
    for row in range(_ALONE):
        alone = run_graph(session, names, {name: array[row : row + 1] for name, array in batch.items()})
        worst = max([worst, *(difference(ours, all_[row : row + 1]) for ours, all_ in zip(alone, together, strict=True))])
    return worst


def _joined(first: Tensors, then: Tensors) -> dict[str, Array]:
    return {name: np.concatenate([array, then[name]]) for name, array in first.items()}


def _batch(rows: Tensors, size: int) -> dict[str, Array]:
    """Return `size` rows, from the start again if there are fewer."""
    return {name: np.resize(array, (size, *array.shape[1:])) for name, array in rows.items()}


def _count(rows: Tensors) -> int:
    return len(next(iter(rows.values())))


def _magnitude(rows: Tensors) -> float:
    floats = [np.abs(array[np.isfinite(array)]) for array in rows.values() if array.dtype.kind == "f"]
    return max([1.0, *(float(array.max()) for array in floats if array.size)])
