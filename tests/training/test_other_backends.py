"""A model that was fitted on Keras' JAX or PyTorch back end is exported under TensorFlow, by the same gates.

The back ends live in environments of their own, named by AXON_BACKENDS (without it the fits are left out):

    python -m venv /tmp/jax && /tmp/jax/bin/pip install keras==3.15.1 jax==0.10.2
    python -m venv /tmp/torch && /tmp/torch/bin/pip install keras==3.15.1 torch==2.13.0
    AXON_BACKENDS="jax=/tmp/jax/bin/python torch=/tmp/torch/bin/python" python -m pytest tests/training/test_other_backends.py
"""

import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from training.parity import open_graph, run_graph

keras = pytest.importorskip("keras", reason="needs the train extra")
pytestmark = pytest.mark.training

from training.importing import Request, publish_exported  # noqa: E402 -- after the check for the train extra

BACKENDS = dict(entry.split("=", 1) for entry in os.environ.get("AXON_BACKENDS", "").split())
SCRIPT = Path(__file__).with_name("other_backend.py")
REASON = "AXON_BACKENDS names no environment with it; see the head of this file"


@pytest.mark.backends
@pytest.mark.parametrize(
    "backend",
    [pytest.param(name, marks=pytest.mark.skipif(name not in BACKENDS, reason=f"{name}: {REASON}")) for name in ("jax", "torch")],
)
def test_model_fitted_on_another_backend_answers_the_same_from_its_package(backend: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"KERAS_BACKEND": backend}
    subprocess.run([BACKENDS[backend], str(SCRIPT), str(tmp_path)], check=True, env=environment, timeout=300)

    for name in ("cnn", "lstm"):
        with np.load(tmp_path / f"{name}.npz") as file:
            rows, answers = file["rows"], file["answers"]
        manifest = publish_exported(Request(path=tmp_path / f"{name}.keras", name=name), tmp_path / "models")
        (given,), (taken,) = manifest.signature.outputs, manifest.signature.inputs
        graph = open_graph(tmp_path / "models" / name / "1" / "model.onnx")
        (results,) = run_graph(graph, [given.name], {taken.name: rows})

        assert manifest.parity is not None
        assert manifest.parity.max_abs_error <= 1e-5
        np.testing.assert_allclose(results, answers, rtol=0, atol=1e-5)  # of the back end itself


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, when it saves
def test_keras_file_says_nothing_of_the_back_end_that_wrote_it(tmp_path: Path) -> None:
    """So the export of one is the export of all; TensorFlow's own file stands for them where no other is installed."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="gelu"), keras.layers.Dense(2)])
    model.save(tmp_path / "own.keras")

    with zipfile.ZipFile(tmp_path / "own.keras") as archive:
        written = json.loads(archive.read("metadata.json")) | json.loads(archive.read("config.json"))
    manifest = publish_exported(Request(path=tmp_path / "own.keras", name="own"), tmp_path / "models")

    assert "tensorflow" not in json.dumps(written)
    assert manifest.parity is not None
    assert manifest.parity.max_abs_error <= 1e-5
