import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from service.repository.manifest import Manifest
from service.repository.samples import Samples
from training.errors import AcceptanceFailed, DatasetError, FeatureError, FitFailed, ParityFailed, TrainingError
from training.progress import QuietDisplay
from training.spec import Acceptance, Adam, DatasetSpec, ExportSpec, HiddenLayer, Sgd, TrainingSpec
from training.spec.architecture import AutoencoderSpec, DenseSpec
from training.spec.features import NumericSpec
from training.spec.sources import CsvSource, SklearnSource
from training.spec.splits import ColumnSplit

pipeline = pytest.importorskip("training.pipeline", reason="needs the train extra")
pytestmark = pytest.mark.training

SMALL = DenseSpec(hidden=(HiddenLayer(units=4),))


class Recorder(QuietDisplay):
    """Keeps the steps, and knows whether an epoch was ever begun."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.fitted = False

    def step(self, text: str) -> None:
        """Keep it."""
        self.steps.append(text)

    def epochs(self, total: int, *, done: int = 0) -> Any:
        """Note that the fit begins."""
        self.fitted = True
        return super().epochs(total, done=done)


def brief(spec: TrainingSpec, **changes: object) -> TrainingSpec:
    """Return `spec` with two epochs and a threshold that they pass."""
    short = {"epochs": 2, "early_stopping": None, "acceptance": Acceptance(accuracy=0.05)}
    return msgspec.structs.replace(spec, **(short | changes))


def train(spec: TrainingSpec, directory: Path, display: QuietDisplay | None = None, **run: Any) -> Manifest:
    """Train into `<directory>/models`, with the checkpoint beside."""
    settings = pipeline.Run(**({"workdir": directory / "run"} | run))
    return pipeline.train(spec, directory / "models", display or QuietDisplay(), run=settings)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Write a table of strings, numbers and gaps: who buys depends on age and city."""
    generator = np.random.default_rng(1)
    lines = ["age,city,income,height,bought"]
    for index in range(200):
        age, city = int(generator.integers(18, 80)), ("Oslo", "Rome", "")[index % 3]
        bought = "yes" if age > 40 and city != "Rome" else "no"
        lines.append(f"{'' if index % 7 == 0 else age},{city},{1000 + 10 * age + index},{1.5 + age / 200:.3f},{bought}")
    path = tmp_path / "people.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def table_spec(path: Path, dataset: dict[str, object] | None = None, **changes: object) -> TrainingSpec:
    described = {"source": CsvSource(str(path)), "target": "bought"} | (dataset or {})
    return TrainingSpec(
        **{
            "name": "people", "seed": 1, "epochs": 2, "batch_size": 32, "loss": "sparse_categorical_crossentropy",
            "dataset": DatasetSpec(**described), "architecture": SMALL, "optimizer": Adam(learning_rate=0.01),
            "acceptance": Acceptance(accuracy=0.05),
        } | changes
    )  # fmt: skip


def test_committed_spec_meets_its_promise(published: tuple[Path, Manifest]) -> None:
    directory, manifest = published

    assert manifest.metrics["test"]["accuracy"] >= 0.98
    assert manifest.acceptance["passed"] is True
    assert manifest.parity is not None
    assert manifest.parity.max_abs_error <= 1e-5
    assert manifest.parity.batch_sizes == (1, 2, 7, 64)
    assert sum(path.stat().st_size for path in directory.iterdir()) < 200_000


def test_package_is_whole_and_says_where_it_came_from(published: tuple[Path, Manifest], digits_spec: TrainingSpec) -> None:
    directory, manifest = published

    assert sorted(path.name for path in directory.iterdir()) == [
        "baseline.json", "manifest.json", "model.onnx", "report.html", "samples.npz",
    ]  # fmt: skip
    Manifest.read(directory).verify(directory)
    assert (manifest.task, manifest.seed, manifest.opset) == ("classification", digits_spec.seed, 18)
    assert msgspec.convert(manifest.spec, TrainingSpec) == digits_spec
    assert manifest.dataset["rows"] == sum(manifest.dataset["splits"].values()) == 1797
    assert len(manifest.dataset["sha256"]) == len(manifest.dataset["test_sha256"]) == 64
    assert set(manifest.tools) == {"python", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy"}
    assert manifest.signature.outputs[0].labels == tuple("0123456789")
    low, high = manifest.intervals["accuracy"]
    assert low <= manifest.metrics["test"]["accuracy"] <= high


def test_samples_replay_in_onnxruntime(published: tuple[Path, Manifest]) -> None:
    directory, manifest = published
    from training.parity import open_graph, run_graph  # noqa: PLC0415 -- TensorFlow is loaded only where it is needed

    samples = Samples.read(directory)

    assert samples is not None
    assert len(samples.inputs["image"]) == len(manifest.dataset["sample_targets"]["probabilities"]) == 8
    (outputs,) = run_graph(open_graph(directory / "model.onnx"), ["probabilities"], samples.inputs)
    np.testing.assert_allclose(outputs, samples.outputs["probabilities"], rtol=0, atol=1e-5)


def test_baseline_counts_every_training_row(published: tuple[Path, Manifest]) -> None:
    directory, manifest = published
    baseline = msgspec.json.decode((directory / "baseline.json").read_bytes())

    assert baseline["rows"] == manifest.dataset["splits"]["train"]
    for tensor, size in ((baseline["inputs"]["image"], 64), (baseline["outputs"]["probabilities"], 10)):
        assert len(tensor["features"]) == size
        assert all(sum(feature["counts"]) == baseline["rows"] for feature in tensor["features"])


def test_report_tells_how_to_reproduce_the_run(published: tuple[Path, Manifest]) -> None:
    directory, _ = published
    report = (directory / "report.html").read_text(encoding="utf-8")

    assert "axon train digits.toml" in report
    assert "http://" not in report.replace("http://www.w3.org/", "")


def test_table_is_served_from_its_raw_columns(people: Path, tmp_path: Path) -> None:
    from training.parity import open_graph, run_graph  # noqa: PLC0415 -- as above

    manifest = train(table_spec(people, {"drop": ("income",), "units": {"age": "years"}}), tmp_path)

    assert [(spec.name, spec.datatype, spec.shape, spec.unit) for spec in manifest.signature.inputs] == [
        ("age", "FP32", (-1,), "years"), ("city", "BYTES", (-1,), ""), ("height", "FP32", (-1,), ""),
    ]  # fmt: skip
    row = {
        "age": np.array([np.nan], np.float32),
        "city": np.array(["Atlantis"], dtype=object),
        "height": np.array([1.7], np.float32),
    }
    (probabilities,) = run_graph(open_graph(tmp_path / "models/people/1/model.onnx"), ["probabilities"], row)
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)
    baseline = msgspec.json.decode((tmp_path / "models/people/1/baseline.json").read_bytes())
    assert "categories" in baseline["inputs"]["city"]


def test_regression_of_two_values_is_in_their_units(people: Path, tmp_path: Path) -> None:
    dataset = {"task": "regression", "target": ("income", "height"), "drop": ("bought",), "units": {"height": "m"}}

    manifest = train(
        table_spec(
            people, dataset, loss="mse", acceptance=Acceptance(rmse=1000), epochs=30, optimizer=Adam(learning_rate=0.05),
            architecture=DenseSpec(hidden=(HiddenLayer(units=8),), output="linear"),
        ),
        tmp_path,
    )  # fmt: skip

    (output,) = manifest.signature.outputs
    assert (output.shape, output.labels) == ((-1, 2), ("income", "height"))
    assert manifest.metrics["test"]["rmse.income"] < 200
    assert manifest.metrics["test"]["rmse.height"] < 0.2
    assert len(manifest.dataset["sample_targets"]["values"][0]) == 2


def test_autoencoder_gives_its_input_back_in_its_own_range(digits_spec: TrainingSpec, tmp_path: Path) -> None:
    spec = brief(
        digits_spec,
        dataset=msgspec.structs.replace(digits_spec.dataset, task="reconstruction"),
        architecture=AutoencoderSpec(hidden=(HiddenLayer(units=32),), code=16, output="sigmoid"),
        loss="mse",
        acceptance=Acceptance(rmse=6.0),
        epochs=5,
    )

    manifest = train(spec, tmp_path)

    assert (manifest.task, manifest.signature.outputs[0].shape) == ("reconstruction", (-1, 8, 8))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"acceptance": Acceptance(accuracy=1.0, log_loss=1e-6)}, AcceptanceFailed, "expected at least 1; test log_loss is"),
        ({"export": ExportSpec(parity_tolerance=1e-12)}, ParityFailed, "Output 'probabilities' of the ONNX graph differs"),
        (
            {
                "optimizer": Sgd(learning_rate=1e6),
                "loss": "mse",
                "architecture": DenseSpec(hidden=(), output="linear"),
                "dataset": DatasetSpec(source=SklearnSource("digits"), task="regression"),
                "acceptance": Acceptance(rmse=1e9),
            },
            FitFailed,
            "The loss became .* in epoch 1; expected a finite number",
        ),
    ],
    ids=["a bad model", "an unfaithful graph", "a diverging fit"],
)
def test_failed_gate_publishes_nothing(
    digits_spec: TrainingSpec, tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(brief(digits_spec, **changes), tmp_path)

    assert not (tmp_path / "models").exists()


def test_lowered_threshold_needs_no_second_fit_and_force_is_recorded(people: Path, tmp_path: Path) -> None:
    strict = table_spec(people, acceptance=Acceptance(accuracy=1.0))
    with pytest.raises(AcceptanceFailed, match=r"or publish it all the same with --force\. The fit is kept"):
        train(strict, tmp_path)
    display = Recorder()

    manifest = train(strict, tmp_path, display, force=True)

    assert any(step.startswith("Resuming after 2 whole epochs") for step in display.steps)
    assert (manifest.acceptance["passed"], manifest.acceptance["forced"]) == (False, True)
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def test_version_worse_than_the_published_one_is_refused(people: Path, tmp_path: Path) -> None:
    guarded = Acceptance(log_loss=5.0, never_worse_than_published=0.0)
    train(table_spec(people, epochs=30), tmp_path, workdir=tmp_path / "good")

    with pytest.raises(AcceptanceFailed, match="because the published version has"):
        train(table_spec(people, epochs=1, acceptance=guarded), tmp_path, workdir=tmp_path / "bad")


@pytest.mark.parametrize(
    ("dataset", "changes", "error", "message"),
    [
        ({"source": CsvSource("/absent.csv")}, {}, DatasetError, "/absent.csv does not exist"),
        ({"target": "sold"}, {}, DatasetError, "people has no column 'sold'"),
        ({"split": ColumnSplit(column="city", train="Oslo", test="Rome", validation="Paris")}, {}, DatasetError, "holds ''"),
        ({}, {"features": {"city": NumericSpec()}}, FeatureError, "Column 'city' holds text such as '"),
        ({}, {"features": {"town": NumericSpec()}}, FeatureError, "has a section .features.town."),
        ({}, {"acceptance": Acceptance(rmse=1.0)}, DatasetError, "acceptance.rmse cannot be checked"),
        ({}, {"loss": "mse", "class_weights": {"no": 1.0}}, TrainingError, "class_weights and the dataset differ in 'yes'"),
    ],
    ids=[
        "missing file", "wrong column", "unknown split", "text in a numeric column", "feature of no column", "other task's metric",
        "class without a weight",
    ],
)  # fmt: skip
def test_wrong_input_is_refused_before_any_epoch(
    people: Path, tmp_path: Path, dataset: dict[str, object], changes: dict[str, object], error: type[Exception], message: str
) -> None:
    display = Recorder()

    with pytest.raises(error, match=message):
        train(table_spec(people, dataset, **changes), tmp_path, display)

    assert not display.fitted
    assert not (tmp_path / "models").exists()


def test_same_seed_gives_the_same_model_in_another_process(digits_spec: TrainingSpec, tmp_path: Path) -> None:
    """Both runs are processes of their own, as `axon train` is; the graph files are equal byte for byte."""
    spec_file = tmp_path / "spec.json"
    spec_file.write_bytes(msgspec.json.encode(brief(digits_spec)))
    script = (
        "import sys, msgspec; from pathlib import Path; from training.pipeline import Run, train;"
        "from training.progress import QuietDisplay; from training.spec import TrainingSpec;"
        "spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=TrainingSpec); place = Path(sys.argv[2]);"
        "run = Run(workdir=place / 'run');"
        "print(train(spec, place, QuietDisplay(), run=run).files['model.onnx'].sha256)"
    )

    first, second = (
        subprocess.run(
            [sys.executable, "-c", script, spec_file, tmp_path / name], check=True, capture_output=True, text=True
        ).stdout
        for name in ("first", "second")
    )

    assert len(first.strip()) == 64
    assert first == second
