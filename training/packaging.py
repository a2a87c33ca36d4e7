"""Put what training made into a model package and publish it as the next version."""

import errno
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import keras
import msgspec
import numpy as np
import tensorflow as tf

from service.errors import PackageError
from service.repository.baseline import Baseline
from service.repository.layout import find_versions, publish, staged
from service.repository.manifest import FileDigest, Manifest, Parity
from service.repository.samples import Samples
from service.repository.signature import Signature
from training.datasets import Dataset, Rows, Splits
from training.datasets.dataset import Tensors
from training.errors import PublishFailed
from training.evaluation import Evaluation, Verdict, digest_rows, intervals_of, metrics_of
from training.report import ReportFacts, write_report
from training.spec import TrainingSpec

SAMPLE_ROWS: Final = 8
_DIGITS: Final = 6


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """All that a package is made of.

    `graphs` are the exported files, `model.onnx` first. `splits` hold the raw columns; `sample_outputs` are Keras' for the first
    test rows, `baseline` is of the training rows.
    """

    spec: TrainingSpec
    dataset: Dataset
    splits: Splits
    signature: Signature
    graphs: tuple[Path, ...]
    parity: Parity
    evaluations: dict[str, dict[str, Evaluation]]
    verdict: Verdict
    baseline: Baseline
    sample_outputs: Tensors
    report: ReportFacts
    pictures: bool = False


def publish_package(package: Package, repository: Path) -> Manifest:
    """Write the package to `<repository>/<name>/<next version>` in one step. Raises PublishFailed if the disk refuses."""
    directory = repository / package.spec.name
    try:
        with staged(directory) as staging:
            for graph in package.graphs:
                shutil.copyfile(graph, staging / graph.name)
            _samples(package).write(staging)
            package.baseline.write(staging)
            write_report(package.report, staging, pictures=package.pictures)
            return publish(staging, directory, **_facts(package))
    except OSError as error:
        raise PublishFailed(directory, error, fitted=True) from error


def published_now(directory: Path) -> Manifest | None:
    """Return the manifest of the newest version of a model, None if there is none, or it has none that can be read."""
    versions = find_versions(directory) if directory.is_dir() else {}
    try:
        return Manifest.read(versions[max(versions)]) if versions else None
    except PackageError:
        return None


def published_already(directory: Path, spec: TrainingSpec, graphs: tuple[Path, ...]) -> Manifest | None:
    """Return the manifest of the newest version of a model if it is of this spec and has these very graphs, else None."""
    newest = published_now(directory)
    if newest is None or newest.spec != msgspec.json.decode(msgspec.json.encode(spec)):
        return None
    return newest if all(newest.files.get(graph.name) == FileDigest.of(graph) for graph in graphs) else None


def require_writable(directory: Path) -> None:
    """Raise PublishFailed if a version cannot be put into `directory`: better now than after the fit. Nothing is written."""
    nearest = _nearest(directory)
    if not nearest.is_dir():
        raise PublishFailed(directory, _os_error(errno.ENOTDIR))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PublishFailed(directory, _os_error(errno.EROFS if os.statvfs(nearest).f_flag & os.ST_RDONLY else errno.EACCES))


def require_room(directory: Path, size: int) -> None:
    """Raise PublishFailed if the disk of `directory` has no room for a model with `size` bytes of weights."""
    if shutil.disk_usage(_nearest(directory)).free < size:
        raise PublishFailed(directory, _os_error(errno.ENOSPC))


def _nearest(directory: Path) -> Path:
    """Return the directory, or the nearest one above it that exists."""
    return next(path for path in (directory, *directory.absolute().parents) if path.exists())


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def dataset_facts(dataset: Dataset, splits: Splits) -> dict[str, Any]:
    """Return what the manifest says of the data. `test_sha256` tells whether two models were judged by the same rows."""
    first = splits.test.take(np.arange(min(SAMPLE_ROWS, len(splits.test))))
    return {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "test_sha256": digest_rows(splits.test.inputs, splits.test.targets, [goal.labels for goal in dataset.goals]),
        "rows": len(dataset.rows),
        "splits": splits.sizes,
        **_sample_targets(dataset, first),
    }


def tool_versions() -> dict[str, str]:
    """Versions of what made the model."""
    imported = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    others = {name: metadata.version(name) for name in ("tf2onnx", "onnx", "onnxruntime")}
    return {"python": sys.version.split()[0], **imported, **others}


def _sample_targets(dataset: Dataset, rows: Rows) -> dict[str, Any]:
    """Return what the samples' outputs should be: labels by name, or values."""
    found = {
        goal.output.name: [goal.labels[target] for target in targets] if goal.task == "classification" else targets.tolist()
        for goal, targets in zip(dataset.goals, rows.targets.values(), strict=True)
        if goal.task != "reconstruction"
    }
    return {"sample_targets": found} if found else {}


def _samples(package: Package) -> Samples:
    count = len(next(iter(package.sample_outputs.values())))
    inputs = {spec.name: package.splits.test.inputs[spec.name][:count] for spec in package.signature.inputs}
    return Samples(inputs=inputs, outputs=dict(package.sample_outputs))


def _facts(package: Package) -> dict[str, Any]:
    """Return the fields of the manifest."""
    return {
        "description": package.spec.description,
        "task": ", ".join(dict.fromkeys(goal.task for goal in package.dataset.goals)),
        "signature": package.signature,
        "opset": package.spec.export.opset,
        "seed": package.spec.seed,
        "parity": package.parity,
        "metrics": {name: _rounded(metrics_of(found)) for name, found in package.evaluations.items()},
        "intervals": {name: (_round(low), _round(high)) for name, (low, high) in intervals_of(package.evaluations["test"]).items()},
        "acceptance": package.verdict.facts,
        "dataset": dict(package.report.dataset),
        "spec": msgspec.to_builtins(package.spec),
        "tools": dict(package.report.tools),
    }


def _rounded(metrics: dict[str, float]) -> dict[str, float]:
    return {name: _round(value) for name, value in metrics.items()}


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
