"""A model of several outputs, each with a target, a loss and thresholds of its own, from the spec to the package."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.repository.manifest import Manifest
from service.repository.samples import Samples
from training.errors import AcceptanceFailed, FeatureError, FitRefused, SpecError, TrainingError
from training.progress import QuietDisplay
from training.spec import TrainingSpec
from training.spec.reading import read_spec

pipeline = pytest.importorskip("training.pipeline", reason="needs the train extra")
pytestmark = pytest.mark.training

SPEC = """
name = "penguins"
seed = 5
epochs = 30
batch_size = 16

[dataset]
source = { kind = "csv", path = "PATH" }

[outputs.kind]
target = "species"
loss = "sparse_categorical_crossentropy"
class_weights = "balanced"
acceptance = { accuracy = 0.9 }

[outputs.grams]
target = "mass"
task = "regression"
loss = "mse"
weight = 0.5
acceptance = { rmse = 150 }

[outputs.sizes]
target = ["flipper", "bill"]
task = "regression"
loss = "mae"
acceptance = { r2 = 0.5 }

[architecture]
kind = "dense"
hidden = [{ units = 16, activation = "relu" }]

[optimizer]
name = "adam"
learning_rate = 0.02
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a table where three species differ in what is measured, and everything else follows from it."""
    generator = np.random.default_rng(2)
    lines = ["length,depth,island,species,mass,flipper,bill"]
    for index in range(240):
        kind = index % 3
        length, depth = 35 + 8 * kind + generator.normal(), 20 - 3 * kind + generator.normal() / 2
        mass = 1000 + 80 * length + 20 * generator.normal()
        lines.append(
            f"{length:.2f},{depth:.2f},{'AB'[index % 2]},{('adelie', 'gentoo', 'king')[kind]},{mass:.0f},"
            f"{3 * length + generator.normal():.1f},{depth + generator.normal() / 9:.2f}"
        )
    path = tmp_path_factory.mktemp("data") / "penguins.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def spec_of(table: Path, directory: Path, *changes: tuple[str, str]) -> TrainingSpec:
    """Read the spec with some of its text replaced."""
    text = SPEC.replace("PATH", str(table))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (directory / "penguins.toml").write_text(text)
    return read_spec(directory / "penguins.toml")


def train(spec: TrainingSpec, directory: Path, **run: Any) -> Manifest:
    settings = pipeline.Run(workdir=directory / "run", **run)
    return pipeline.train(spec, directory / "models", QuietDisplay(), run=settings)


@pytest.fixture(scope="module")
def package(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Train it; return the directory of the version and its manifest."""
    directory = tmp_path_factory.mktemp("penguins")
    manifest = train(spec_of(table, directory), directory, pictures=True)
    return directory / "models/penguins/1", manifest


def test_each_output_is_fitted_evaluated_and_accepted_by_its_own_measure(package: tuple[Path, Manifest]) -> None:
    _, manifest = package

    assert manifest.task == "classification, regression"
    assert manifest.metrics["test"]["accuracy.kind"] >= 0.9
    assert manifest.metrics["test"]["rmse.grams"] <= 150
    assert {"r2.sizes", "r2.sizes.flipper", "r2.sizes.bill"} <= manifest.metrics["test"].keys()
    assert {check["metric"] for check in manifest.acceptance["checks"]} == {"accuracy.kind", "rmse.grams", "r2.sizes"}
    assert manifest.intervals.keys() == manifest.metrics["test"].keys()


def test_signature_names_every_output_with_labels_and_sizes(package: tuple[Path, Manifest]) -> None:
    _, manifest = package

    assert [(output.name, output.shape, output.labels) for output in manifest.signature.outputs] == [
        ("kind", (-1, 3), ("adelie", "gentoo", "king")), ("grams", (-1, 1), ()), ("sizes", (-1, 2), ("flipper", "bill")),
    ]  # fmt: skip
    assert manifest.parity is not None
    assert manifest.parity.max_abs_error <= 1e-5


def test_samples_replay_every_output_from_raw_columns(package: tuple[Path, Manifest]) -> None:
    from training.parity import open_graph, run_graph  # noqa: PLC0415 -- needs the train extra

    directory, manifest = package
    samples = Samples.read(directory)
    assert samples is not None
    results = run_graph(open_graph(directory / "model.onnx"), list(samples.outputs), samples.inputs)

    for (name, expected), got in zip(samples.outputs.items(), results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
        assert len(manifest.dataset["sample_targets"][name]) == len(expected)
    assert set(samples.inputs) == {"length", "depth", "island"}


def test_report_has_a_part_for_each_output(package: tuple[Path, Manifest]) -> None:
    directory, _ = package
    report = (directory / "report.html").read_text(encoding="utf-8")

    for title in ("kind: metrics", "kind: mistakes by label", "grams: errors", "sizes: errors", "Output “kind”"):
        assert title in report
    assert {path.name for path in directory.glob("*.png")} >= {"report-confusion-kind.png", "report-residuals-grams.png"}


def test_output_that_misses_its_threshold_keeps_the_model_back(table: Path, tmp_path: Path) -> None:
    spec = spec_of(table, tmp_path, ("rmse = 150", "rmse = 0.001"), ("epochs = 30", "epochs = 1"))

    with pytest.raises(AcceptanceFailed, match=r"test rmse\.grams is .*, expected at most 0\.001"):
        train(spec, tmp_path)

    assert not (tmp_path / "models").exists()


def test_an_output_can_steer_the_fit(table: Path, tmp_path: Path) -> None:
    steered = ("[architecture]", '[early_stopping]\nmonitor = "val_kind_accuracy"\npatience = 1\n[architecture]')

    train(spec_of(table, tmp_path, steered, ("epochs = 30", "epochs = 15")), tmp_path)

    with pytest.raises(
        FitRefused, match=r"'val_rmse' is not measured .*expected one of val_loss, val_kind_loss, val_kind_accuracy"
    ):
        train(spec_of(table, tmp_path, steered, ("val_kind_accuracy", "val_rmse")), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size = 16", 'batch_size = 16\nloss = "mse"', "loss is given beside [outputs]"),
        ("[dataset]", '[dataset]\ntarget = "mass"', "dataset.target is given beside [outputs]"),
        ("[dataset]", '[dataset]\ntask = "regression"', "a task is given beside [outputs]"),
        ("[dataset]", '[dataset]\ndrop = ["mass"]', "column 'mass' is in both outputs.grams.target and dataset.drop"),
        ('target = "species"\n', "", "key 'outputs.kind.target' is missing"),
        ('loss = "mae"', 'loss = "mae"\nactivation = "softmax"', "loss 'mae' does not fit activation = 'softmax'"),
        ("weight = 0.5", "weight = 0", "outputs.grams.weight = 0 is not valid."),
        ("weight = 0.5", "wieght = 0.5", "unknown key 'outputs.grams.wieght'. Did you mean 'weight'?"),
        ("[outputs.kind]", '[outputs."my kind"]', "outputs"),
        ("[outputs.kind]", "[outputs.val]", "'val' names what is measured on the validation rows"),
    ],
    ids=["loss twice", "target twice", "task twice", "dropped", "no target", "activation", "no weight", "typo", "name", "val"],
)  # fmt: skip
def test_contradicting_outputs_are_refused_before_anything_is_read(
    table: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(table, tmp_path, (old, new))

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("[outputs.grams]", "[outputs.length]", FeatureError, "has the name of an output and of an input"),
        ('"mae"', '"kl_divergence"\nactivation = "softmax"', FitRefused, "loss = 'kl_divergence' does not fit a dataset whose"),
        ("[outputs.grams]", "[outputs.dense]", FeatureError, "Column 'dense' has the name of an output and of an input"),
        ("rmse = 150", "accuracy = 0.5", TrainingError, "outputs.grams.acceptance.accuracy cannot be checked"),
        ('target = "mass"', 'target = "weight"', TrainingError, "has no column 'weight'"),
    ],
    ids=["named as an input", "loss of labels for numbers", "named as the network's", "other task's metric", "wrong column"],
)
def test_outputs_that_do_not_fit_the_data_are_refused_before_the_fit(
    table: Path, tmp_path: Path, old: str, new: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        train(spec_of(table, tmp_path, (old, new)), tmp_path)

    assert message in str(caught.value)
