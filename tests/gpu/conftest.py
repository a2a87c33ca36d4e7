"""For a machine with a CUDA device and onnxruntime-gpu: `make gpu`. Not collected otherwise; without a device everything fails."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from service.repository.layout import publish, staged
from service.repository.manifest import Parity
from service.repository.samples import Samples
from service.repository.signature import Signature, TensorSpec

_GRAPHS = Path(__file__).parents[1] / "benchmarks" / "runtime" / "graphs.py"


@pytest.fixture(scope="session")
def networks() -> ModuleType:
    """Give the builders of the networks that the benchmarks use."""
    specification = importlib.util.spec_from_file_location("graphs", _GRAPHS)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """Give 32 grey pictures of noise."""
    return np.random.default_rng(7).random((32, 1, 28, 28), dtype=np.float32)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, networks: ModuleType, pictures: np.ndarray) -> Path:
    """Build a repository of one package, `cnn`, whose samples were computed by onnxruntime on the CPU."""
    root = tmp_path_factory.mktemp("models")
    with staged(root / "cnn") as staging:
        onnx.save(networks.cnn(), staging / "model.onnx")
        cpu = ort.InferenceSession(staging / "model.onnx", providers=["CPUExecutionProvider"])
        Samples({"x": pictures}, {"y": cpu.run(["y"], {"x": pictures})[0]}).write(staging)
        signature = Signature(
            inputs=(TensorSpec("x", "FP32", (-1, 1, 28, 28)),),
            outputs=(TensorSpec("y", "FP32", (-1, 10)),),
        )
        publish(staging, root / "cnn", signature=signature, parity=Parity(tolerance=1e-3, max_abs_error=0.0, batch_sizes=(32,)))
    return root
