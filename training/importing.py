"""A model made elsewhere -> a verified package: load, export, prove parity on random rows, publish."""

import shutil
from pathlib import Path
from typing import Any, Final

import msgspec

from service.repository.layout import GRAPH_NAME, checked_name, publish, staged
from service.repository.manifest import FileDigest, Manifest
from service.repository.samples import Samples
from service.repository.signature import Signature, TensorSpec
from training.edge_rows import random_rows
from training.errors import ExportFailed, PublishFailed
from training.export import Program, export_program
from training.export.exporter import graph_files
from training.export.loading import load_program
from training.packaging import tool_versions
from training.parity import has_number, prove_parity
from training.scratch import export_scratch

_ROWS: Final = 64
# Sizes of free axes: the smallest that the model computes. Five poolings, for example, leave nothing of a picture of 8 pixels.
_FREE_AXES: Final = (8, 32, 128)
_SAMPLES: Final = 8
_SEED: Final = 0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What `axon export` was asked for.

    `labels` are those of the entries of an output's last axis, by output name ("" is the only output). `value_range` is that of
    all numeric inputs, which nothing in the file tells. `tolerance` is for |ONNX - Keras| / max(1, |Keras|).
    """

    path: Path
    name: str
    description: str = ""
    labels: dict[str, tuple[str, ...]] = {}
    value_range: tuple[float, float] | None = None
    opset: int = 18
    tolerance: float = 1e-5
    memory_limit_mb: int = 8192
    modules: tuple[str, ...] = ()
    trusted: bool = False


def publish_exported(request: Request, repository: Path) -> Manifest:
    """Publish the model as the next version of `request.name`. Raises ExportFailed, ParityFailed or PublishFailed."""
    loaded = load_program(request.path, modules=request.modules, trusted=request.trusted)
    program = Program(_described(loaded.signature, request), loaded.call, loaded.weights)
    rows = _computable_rows(program)
    directory = repository / checked_name(request.name)
    with export_scratch() as scratch:
        graph = scratch / GRAPH_NAME
        export_program(program, graph, opset=request.opset, memory_limit_mb=request.memory_limit_mb)
        parity = prove_parity(program.run, graph, program.signature, rows, tolerance=request.tolerance)
        few = {name: array[:_SAMPLES] for name, array in rows.items()}
        samples = Samples(inputs=few, outputs=program.run(few))
        try:
            with staged(directory) as staging:
                for file in graph_files(graph):
                    shutil.copyfile(file, staging / file.name)
                samples.write(staging)
                return publish(staging, directory, parity=parity, **_facts(request, program.signature))
        except OSError as error:
            raise PublishFailed(directory, error) from error


def _computable_rows(program: Program) -> dict[str, Any]:
    """Return random rows, with free axes as small as the model can compute. Raises ExportFailed if it cannot compute any."""
    signature = program.signature
    free = any(-1 in spec.shape[1:] for spec in signature.inputs)
    *smaller, last = _FREE_AXES if free else _FREE_AXES[:1]
    for size in smaller:
        rows = random_rows(signature, _ROWS, seed=_SEED, free_axis=size)
        if _computes(program, rows):
            return rows
    rows = random_rows(signature, _ROWS, seed=_SEED, free_axis=last)
    try:
        program.run(_first(rows))
    except ExportFailed as error:
        raise ExportFailed(f"{error.reason} Say with --value-range which numbers it expects.") from error
    return rows


def _computes(program: Program, rows: dict[str, Any]) -> bool:
    """Tell whether every output of the first row holds something, and of its numbers one that is finite."""
    try:
        outputs = program.run(_first(rows)).values()
    except ExportFailed:
        return False
    return all(has_number(array) for array in outputs)


def _first(rows: dict[str, Any]) -> dict[str, Any]:
    return {name: array[:1] for name, array in rows.items()}


def _facts(request: Request, signature: Signature) -> dict[str, Any]:
    """Return the fields of the manifest. There is no dataset: the samples are random rows."""
    source: dict[str, Any] = {"file": request.path.name}
    if request.path.is_file():
        source |= {"sha256": FileDigest.of(request.path).sha256}
    return {
        "description": request.description,
        "signature": signature,
        "opset": request.opset,
        "seed": _SEED,
        "spec": {"exported_from": source},
        "tools": tool_versions(),
    }


def _described(signature: Signature, request: Request) -> Signature:
    """Add what the file does not tell."""
    inputs = tuple(
        msgspec.structs.replace(spec, value_range=None if spec.datatype in {"BYTES", "BOOL"} else request.value_range)
        for spec in signature.inputs
    )
    names = [spec.name for spec in signature.outputs]
    unknown = [name for name in request.labels if name not in names and not (name == "" and len(names) == 1)]
    if unknown:
        raise ExportFailed(
            f"labels are given for output '{unknown[0]}'; the model has {', '.join(names)}. Use --labels NAME=a,b,c."
        )
    alone = request.labels.get("", ())
    return Signature(inputs, tuple(_labelled(spec, request.labels.get(spec.name, alone)) for spec in signature.outputs))


def _labelled(spec: TensorSpec, labels: tuple[str, ...]) -> TensorSpec:
    if labels and spec.shape[-1] != len(labels):
        raise ExportFailed(
            f"{len(labels)} labels are given, but output '{spec.name}' has the shape {list(spec.shape)}; expected {spec.shape[-1]}."
        )
    if len(set(labels)) < len(labels):
        raise ExportFailed(f"the labels of output '{spec.name}' are {', '.join(labels)}; expected different ones.")
    return msgspec.structs.replace(spec, labels=labels)
