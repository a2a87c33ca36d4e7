"""Resident memory while a model is loaded and unloaded over and over, every second time with a failure.

python tests/benchmarks/runtime/unloading.py [megabytes] [rounds]
"""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
from graphs import heavy

from service.errors import PackageError
from service.inference.loading import Loader
from service.inference.memory import give_back_memory
from service.repository.configuration import ModelConfiguration
from service.repository.layout import find_models, publish, staged
from service.repository.samples import Samples
from service.repository.signature import Signature, TensorSpec

_PAGE_KB = 4
_SIGNATURE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 4)),), outputs=(TensorSpec("y", "FP32", (-1, 3)),))


def resident() -> float:
    """Return the resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_KB / 1000


def publish_with_wrong_samples(graph: Path, model: Path) -> None:
    """Publish a version that loads and then fails: its samples expect something else."""
    wrong = Samples({"x": np.ones((1, 4), np.float32)}, {"y": np.full((1, 3), 7, np.float32)})
    with staged(model) as staging:
        (staging / "model.onnx").hardlink_to(graph)
        wrong.write(staging)
        publish(staging, model, signature=_SIGNATURE)


def measure(directory: Path, megabytes: int, rounds: int) -> list[float]:
    """Return the resident memory in MB at first and after each round of a load that works and one that fails."""
    good = directory / "good" / "1"
    good.mkdir(parents=True)
    onnx.save(heavy(megabytes), good / "model.onnx")
    publish_with_wrong_samples(good / "model.onnx", directory / "wrong")
    models = {model.name: model for model in find_models(directory)}
    loader = Loader(provider="auto")
    give_back_memory()
    figures = [resident()]
    for _ in range(rounds):
        loaded = loader.load(models["good"], 1, ModelConfiguration())
        loaded.session.run([np.ones((64, 4), np.float32)])
        sys.stdout.write(f"loaded {resident():.0f} MB, ")
        del loaded
        with suppress(PackageError):
            loader.load(models["wrong"], 1, ModelConfiguration())
            raise AssertionError("the version with the wrong samples was not refused")
        give_back_memory()
        figures.append(resident())
        sys.stdout.write(f"unloaded {figures[-1]:.0f} MB\n")
    return figures


if __name__ == "__main__":
    megabytes, rounds = (int(text) for text in (*sys.argv[1:], *("100", "20")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch), megabytes, rounds)
    first, last = f"after round 1 {figures[1]:.0f} MB", f"after round {rounds} {figures[-1]:.0f} MB"
    sys.stdout.write(f"before {figures[0]:.0f} MB, {first}, {last}\n")
