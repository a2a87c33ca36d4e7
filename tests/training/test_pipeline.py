import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from service.repository.manifest import Manifest
from service.repository.samples import Samples
from training.errors import AcceptanceFailed, FitFailed, ParityFailed, PublishFailed
from training.progress import QuietDisplay
from training.spec import Acceptance, ExportSpec, Sgd, TrainingSpec

pipeline = pytest.importorskip("training.pipeline", reason="needs the train extra")
pytestmark = pytest.mark.training


def brief(spec: TrainingSpec, **changes: object) -> TrainingSpec:
    """Return `spec` with two epochs and a threshold that they pass."""
    short = {"epochs": 2, "early_stopping": None, "acceptance": Acceptance(accuracy=0.2)}
    return msgspec.structs.replace(spec, **(short | changes))


def test_committed_spec_meets_its_promise(published: tuple[Path, Manifest]) -> None:
    directory, manifest = published

    assert manifest.metrics["test"]["accuracy"] >= 0.97
    assert manifest.parity is not None
    assert manifest.parity.max_abs_error <= 1e-5
    assert manifest.parity.batch_sizes == (1, 2, 7, 64)
    assert sum(path.stat().st_size for path in directory.iterdir()) < 1_000_000


def test_package_is_whole_and_says_where_it_came_from(published: tuple[Path, Manifest], digits_spec: TrainingSpec) -> None:
    directory, manifest = published

    assert sorted(path.name for path in directory.iterdir()) == [
        "baseline.json", "manifest.json", "model.onnx", "samples.npz",
    ]  # fmt: skip
    Manifest.read(directory).verify(directory)
    assert (manifest.task, manifest.seed, manifest.opset) == ("classification", digits_spec.seed, 18)
    assert msgspec.convert(manifest.spec, TrainingSpec) == digits_spec
    assert manifest.dataset["rows"] == sum(manifest.dataset["splits"].values()) == 1797
    assert set(manifest.tools) == {"python", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy"}
    assert manifest.signature.outputs[0].labels == tuple("0123456789")


def test_samples_replay_in_onnxruntime(published: tuple[Path, Manifest]) -> None:
    directory, manifest = published
    from training.parity import open_graph, run_graph  # noqa: PLC0415 -- TensorFlow is loaded only where it is needed

    samples = Samples.read(directory)

    assert samples is not None
    assert len(samples.inputs["image"]) == len(manifest.dataset["sample_labels"]) == 8
    (outputs,) = run_graph(open_graph(directory / "model.onnx"), ["probabilities"], samples.inputs)
    np.testing.assert_allclose(outputs, samples.outputs["probabilities"], rtol=0, atol=1e-5)


def test_baseline_counts_every_training_row(published: tuple[Path, Manifest]) -> None:
    directory, manifest = published
    baseline = msgspec.json.decode((directory / "baseline.json").read_bytes())

    assert baseline["rows"] == manifest.dataset["splits"]["train"]
    for tensor, size in ((baseline["inputs"]["image"], 64), (baseline["outputs"]["probabilities"], 10)):
        assert len(tensor["features"]) == size
        assert all(sum(feature["counts"]) == baseline["rows"] for feature in tensor["features"])
        assert all(len(feature["counts"]) == len(feature["edges"]) + 1 for feature in tensor["features"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"acceptance": Acceptance(accuracy=1.0, log_loss=1e-6)}, AcceptanceFailed, "expected at least 1; test log_loss is"),
        ({"export": ExportSpec(parity_tolerance=1e-12)}, ParityFailed, "Output 'probabilities' of the ONNX graph differs"),
        ({"optimizer": Sgd(learning_rate=1e6), "loss": "mse", "seed": 1}, (FitFailed, AcceptanceFailed), "expected"),
    ],
    ids=["a bad model", "an unfaithful graph", "a diverging fit"],
)
def test_failed_gate_publishes_nothing(
    digits_spec: TrainingSpec, tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pipeline.train(brief(digits_spec, **changes), tmp_path / "models", QuietDisplay())

    assert not (tmp_path / "models").exists()


def test_repository_that_cannot_be_written_is_one_clear_error(digits_spec: TrainingSpec, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a directory should be")

    with pytest.raises(PublishFailed, match=r"Cannot publish to .*models/digits: Not a directory\. Nothing was published\."):
        pipeline.train(brief(digits_spec), tmp_path / "models", QuietDisplay())


def test_interrupted_publishing_leaves_nothing_behind(
    digits_spec: TrainingSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_samples: Samples, _directory: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Samples, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.train(brief(digits_spec), tmp_path, QuietDisplay())

    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(".")] == []


def test_same_seed_gives_the_same_model_in_another_process(digits_spec: TrainingSpec, tmp_path: Path) -> None:
    """Both runs are processes of their own, as `axon train` is; the graph files are equal byte for byte."""
    spec_file = tmp_path / "spec.json"
    spec_file.write_bytes(msgspec.json.encode(brief(digits_spec)))
    script = (
        "import sys, msgspec; from pathlib import Path; from training.pipeline import train;"
        "from training.progress import QuietDisplay; from training.spec import TrainingSpec;"
        "spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=TrainingSpec);"
        "print(train(spec, Path(sys.argv[2]), QuietDisplay()).files['model.onnx'].sha256)"
    )

    first, second = (
        subprocess.run(
            [sys.executable, "-c", script, spec_file, tmp_path / name], check=True, capture_output=True, text=True
        ).stdout
        for name in ("first", "second")
    )

    assert len(first.strip()) == 64
    assert first == second
