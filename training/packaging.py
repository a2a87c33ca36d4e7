"""Put what training made into a model package and publish it as the next version."""

import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import keras
import msgspec
import numpy as np
import tensorflow as tf

from service.repository.layout import GRAPH_NAME, publish, staged
from service.repository.manifest import Manifest, Parity
from service.repository.samples import Samples
from service.repository.signature import Signature
from training.baseline import Baseline
from training.datasets import Dataset, Splits
from training.errors import PublishFailed
from training.spec import TrainingSpec

SAMPLE_ROWS: Final = 8


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """All that a package is made of; `graph` is the exported file, `sample_outputs` are Keras' for the first test rows."""

    spec: TrainingSpec
    dataset: Dataset
    splits: Splits
    signature: Signature
    graph: Path
    parity: Parity
    metrics: dict[str, dict[str, float]]
    baseline: Baseline
    sample_outputs: np.ndarray[Any, Any]


def publish_package(package: Package, repository: Path) -> Manifest:
    """Write the package to `<repository>/<name>/<next version>` in one step. Raises PublishFailed if the disk refuses."""
    directory = repository / package.spec.name
    try:
        with staged(directory) as staging:
            shutil.copyfile(package.graph, staging / GRAPH_NAME)
            _samples(package).write(staging)
            package.baseline.write(staging)
            return publish(staging, directory, **_facts(package))
    except OSError as error:
        raise PublishFailed(directory, error) from error


def tool_versions() -> dict[str, str]:
    """Versions of what made the model."""
    imported = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    others = {name: metadata.version(name) for name in ("tf2onnx", "onnx", "onnxruntime")}
    return {"python": sys.version.split()[0], **imported, **others}


def _samples(package: Package) -> Samples:
    rows = package.splits.test.take(np.arange(len(package.sample_outputs)))
    (output,) = package.signature.outputs
    return Samples(inputs=rows.inputs, outputs={output.name: package.sample_outputs})


def _facts(package: Package) -> dict[str, Any]:
    """Return the fields of the manifest."""
    spec, dataset = package.spec, package.dataset
    targets = package.splits.test.targets[: len(package.sample_outputs)]
    return {
        "description": spec.description,
        "task": dataset.task,
        "signature": package.signature,
        "opset": spec.export.opset,
        "seed": spec.seed,
        "parity": package.parity,
        "metrics": package.metrics,
        "dataset": {
            "name": dataset.name,
            "sha256": dataset.sha256,
            "rows": len(dataset.rows),
            "splits": package.splits.sizes,
            "sample_labels": [dataset.labels[target] for target in targets],
        },
        "spec": msgspec.to_builtins(spec),
        "tools": tool_versions(),
    }
