"""Freeze, convert, put the weights back, write, check."""

from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from service.repository.signature import Signature
from training.errors import ExportFailed
from training.export.bounded import convert_apart
from training.export.canonical import canonicalise
from training.export.checking import check, declare_shapes
from training.export.conversion import Job, convert
from training.export.program import Program, program_of
from training.export.reasons import reason_of
from training.export.refusals import refuse_unexportable
from training.export.tracing import Frozen, freeze
from training.export.weights import EXTERNAL_SUFFIX, insert, write

MEMORY_LIMIT_MB: Final = 8192
# A graph with this many bytes of constants is converted in at most some 600 MB, not worth a process of 4 seconds.
_APART_FROM: Final = 8_000_000
_GRAPH_LIMIT: Final = 2_000_000_000
_EXTERNAL_FROM: Final = 1_500_000_000


def export(model: keras.Model, signature: Signature, path: Path, *, opset: int, memory_limit_mb: int = MEMORY_LIMIT_MB) -> None:
    """Write `model` to `path`, a directory's `model.onnx`; weights of 1.5 GB and more go to `<path>.data` beside it.

    A mixed-precision model is written in float32. Raises ExportFailed, naming the operation and what to use instead, if it has no
    ONNX form, is not `signature`, or needs more memory than the limit to convert.
    """
    refuse_unexportable(model)
    export_program(program_of(model, signature), path, opset=opset, memory_limit_mb=memory_limit_mb)


def export_program(
    program: Program,
    path: Path,
    *,
    opset: int,
    memory_limit_mb: int = MEMORY_LIMIT_MB,
    external_from: int = _EXTERNAL_FROM,
    apart_from: int = _APART_FROM,
) -> None:
    """Write a program to `path`, as `export` does. Both thresholds count bytes: of weights, and of the frozen graph."""
    try:
        frozen = freeze(program)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:  # what the model's own code and Keras raise
        raise ExportFailed(f"it cannot be traced: {reason_of(error)}.") from error
    names = [spec.name for spec in (*program.signature.inputs, *program.signature.outputs)]
    weights = {f"weight/{place}": variable for place, variable in enumerate(frozen.weights.values())}
    job = Job(
        inputs=(*frozen.inputs, *frozen.weights),
        outputs=frozen.outputs,
        names=dict(zip((*frozen.inputs, *frozen.outputs, *frozen.weights), (*names, *weights), strict=True)),
        opset=opset,
    )
    model = _converted(frozen, job, memory_limit_mb, apart_from)
    canonicalise(model)
    values = insert(model, {name: np.asarray(variable) for name, variable in weights.items()})
    declare_shapes(model, program.signature)
    write(model, values, path, external_from=external_from)
    try:
        check(model, path, program.signature, opset)
    except ExportFailed:
        for file in graph_files(path):
            file.unlink()
        raise


def graph_files(path: Path) -> list[Path]:
    """Return the files of a graph: `path`, and its external data if it has some."""
    return [file for file in (path, path.with_name(path.name + EXTERNAL_SUFFIX)) if file.exists()]


def _converted(frozen: Frozen, job: Job, memory_limit_mb: int, apart_from: int) -> Any:  # noqa: ANN401 -- onnx is untyped
    size = frozen.graph.ByteSize()
    if size > _GRAPH_LIMIT:
        raise ExportFailed(
            f"its graph has {size / 1e9:.1f} GB of constants; expected at most 2 GB. Save it as .keras, where Axon can keep the "
            "weights apart, instead of SavedModel; or divide the largest recurrent layers."
        )
    if size < apart_from:
        return convert(frozen.graph, job)
    return convert_apart(frozen.graph, job, memory_limit_mb=memory_limit_mb)
