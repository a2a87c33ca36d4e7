"""`axon export`: models that were made elsewhere, in a process that has never called them."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from service.repository.manifest import Manifest
from service.repository.samples import Samples

pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")
importing = pytest.importorskip("training.importing")
parity = pytest.importorskip("training.parity")

from training.errors import ExportFailed, ParityFailed  # noqa: E402 -- below what may be missing
from training.export_command import export  # noqa: E402

pytestmark = pytest.mark.training

# Written by another process: what is loaded here has never been built or called in this one.
MAKER = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
from own_layers import Own, Twice

L = keras.layers
keras.utils.set_random_seed(1)
keras.Sequential([keras.Input((4,), name="x"), L.Dense(3, activation="softmax", name="scores")]).save("sequential.keras")
keras.Sequential([keras.Input((4,), name="x"), L.Dense(3, name="scores")]).save("old.h5")
a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
both = L.Concatenate()([a, b])
named = keras.Model({"b": b, "a": a}, {"price": L.Dense(1)(both), "class": L.Dense(2)(a)})
named.save("named.keras")
named.export("saved", verbose=False)
keras.Model([b, a], [L.Dense(1, name="first")(both), L.Dense(2, name="second")(a)]).save("listed.keras")
keras.Model(a, Twice()(a)).save("layers.keras")
own = Own()
own({"u": np.zeros((1, 3), "float32")})
own.save("own.keras")
own.save_weights("some.weights.h5")
keras.Sequential([L.Dense(2)]).save("unbuilt.keras")
image = keras.Input((8, 8, 1), name="image")
keras.Model(image, L.Resizing(4, 4, interpolation="area")(image)).save("area.keras")
keras.Model(a, L.Lambda(lambda x: x * 2, output_shape=(2,))(a)).save("code.keras")
broken = keras.initializers.Constant(float("nan"))
keras.Model(a, L.Dense(1, kernel_initializer=broken, name="broken")(a)).save("diverged.keras")
keras.Model(a, L.Activation("relu", name="relu")(a)).save("relu.keras")
keras.Sequential([keras.Input((2,)), L.Dense(1, kernel_initializer=broken)]).export("diverged", verbose=False)
keras.Model(a, keras.ops.sqrt(-1 - a * a)).save("undefined.keras")
ids = keras.Input((2,), name="ids", dtype="int32")
keras.Model(ids, L.Embedding(1, 2)(ids)).save("outside.keras")
picture = keras.Input((None, None, 3), name="picture")
large = L.Conv2D(2, 11)(picture)
keras.Model(picture, L.GlobalAveragePooling2D(name="large")(large)).save("large.keras")
halves = picture
for _ in range(5):
    halves = L.MaxPooling2D(2)(halves)
keras.Model(picture, L.GlobalAveragePooling2D(name="halves")(halves)).save("halves.keras")
keras.config.set_dtype_policy("mixed_float16")
keras.Sequential([keras.Input((4,), name="x"), L.Dense(64, activation="relu"), L.Dense(3, name="scores")]).save("mixed.keras")
"""
OWN = """
import keras

@keras.saving.register_keras_serializable(package="tests")
class Twice(keras.layers.Layer):
    def call(self, values):
        return values * 2


@keras.saving.register_keras_serializable(package="tests")
class Own(keras.Model):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.inner = keras.layers.Dense(2)

    def call(self, features):
        return {"sum": self.inner(features["u"])}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made")
    (directory / "own_layers.py").write_text(OWN)
    (directory / "failing_layers.py").write_text("{}['oops']")
    for name in ("notes.keras", "notes.h5", "model.onnx"):
        (directory / name).write_text("no model")
    with zipfile.ZipFile(directory / "archive.keras", "w") as archive:
        archive.writestr("notes.txt", "no model")
    subprocess.run([sys.executable, "-c", MAKER], cwd=directory, check=True, capture_output=True)
    return directory


def tensors(manifest: Manifest) -> tuple[dict[str, tuple[str, tuple[int, ...]]], dict[str, tuple[str, tuple[int, ...]]]]:
    inputs, outputs = (
        {spec.name: (spec.datatype, spec.shape) for spec in specs}
        for specs in (manifest.signature.inputs, manifest.signature.outputs)
    )
    return inputs, outputs


def exported(path: Path, repository: Path, **wishes: object) -> Manifest:
    return importing.publish_exported(importing.Request(path=path, name="made", **wishes), repository)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("file", "inputs", "outputs"),
    [
        ("sequential.keras", {"x": (-1, 4)}, {"scores": (-1, 3)}),
        ("old.h5", {"x": (-1, 4)}, {"scores": (-1, 3)}),
        ("named.keras", {"a": (-1, 2), "b": (-1, 3)}, {"class": (-1, 2), "price": (-1, 1)}),
        ("listed.keras", {"b": (-1, 3), "a": (-1, 2)}, {"first": (-1, 1), "second": (-1, 2)}),
        ("own.keras", {"u": (-1, 3)}, {"sum": (-1, 2)}),
        ("saved", {"a": (-1, 2), "b": (-1, 3)}, {"class": (-1, 2), "price": (-1, 1)}),
        ("mixed.keras", {"x": (-1, 4)}, {"scores": (-1, 3)}),
    ],
)
def test_model_made_elsewhere_becomes_a_package(
    made: Path,
    file: str,
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(made)

    manifest = exported(made / file, tmp_path, modules=("own_layers",))

    found = tensors(manifest)
    assert found == tuple({name: ("FP32", shape) for name, shape in side.items()} for side in (inputs, outputs))
    assert manifest.parity is not None
    assert manifest.parity.max_abs_error <= 1e-5
    directory = tmp_path / "made" / "1"
    manifest.verify(directory)
    samples = Samples.read(directory)
    assert samples is not None
    results = parity.run_graph(parity.open_graph(directory / "model.onnx"), list(outputs), samples.inputs)
    for name, result in zip(outputs, results, strict=True):
        np.testing.assert_allclose(result, samples.outputs[name], atol=1e-5)


def test_labels_and_value_range_stand_in_the_signature(made: Path, tmp_path: Path) -> None:
    manifest = exported(made / "named.keras", tmp_path, labels={"class": ("no", "yes")}, value_range=(0.0, 255.0))

    assert {spec.name: spec.labels for spec in manifest.signature.outputs} == {"class": ("no", "yes"), "price": ()}
    assert {spec.value_range for spec in manifest.signature.inputs} == {(0.0, 255.0)}


@pytest.mark.parametrize(
    ("file", "wishes", "message"),
    [
        ("area.keras", {}, "'area', which computes something else in ONNX; use 'bilinear'"),
        ("unbuilt.keras", {}, "does not know its input shape. Add a keras.Input"),
        ("code.keras", {}, "Use --trusted if you know who made the file"),
        ("own_layers.py", {}, "is no model file; expected .keras, .h5"),
        (
            "notes.keras",
            {},
            r"notes.keras is no Keras file: expected an archive with config.json, .* as model.save\(...\) writes it.$",
        ),
        ("archive.keras", {}, r"archive.keras is no Keras file: expected an archive with config.json"),
        ("notes.h5", {}, r"notes.h5 is no HDF5 file, though it is called so; expected what model.save\(...\) writes.$"),
        ("model.onnx", {}, "is ONNX already. It is served as it is: copy it to models/NAME/1/model.onnx"),
        ("some.weights.h5", {}, "holds weights alone, without the layers. Save the whole model"),
        ("sequential.keras", {"labels": {"": ("a", "b")}}, r"2 labels are given, but output 'scores' has the shape \[-1, 3\]"),
        ("sequential.keras", {"labels": {"other": ("a",)}}, "labels are given for output 'other'; the model has scores"),
        (
            "sequential.keras",
            {"labels": {"": ("a", "b", "a")}},
            "labels of output 'scores' are a, b, a; expected different ones",
        ),
        ("sequential.keras", {"modules": ("not_there",)}, "--import not_there: No module named"),
        ("sequential.keras", {"modules": ("failing_layers",)}, "--import failing_layers: it fails with KeyError: 'oops'. Mend"),
        ("diverged.keras", {}, "weight 'broken/kernel' holds NaN; expected numbers"),
        ("diverged", {}, "output 'output_0' of the model itself holds no finite number on any row of the proof"),
        ("undefined.keras", {}, "holds no finite number .* so nothing can be compared. If its weights are NaN, train it again"),
        (
            "outside.keras",
            {},
            r"cannot compute the rows of the proof: InvalidArgumentError: indices.* = 1 is not in \[0, 1\). Say with --value-range",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:20] else None,
)
def test_model_that_cannot_be_exported_is_refused(
    made: Path, file: str, wishes: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)

    with pytest.raises(ExportFailed, match=message):
        exported(made / file, tmp_path, **wishes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["large", "halves"])
def test_free_picture_size_is_proven_at_one_that_the_model_computes(made: Path, name: str, tmp_path: Path) -> None:
    """A kernel of 11 pixels, or five poolings, leave nothing of the 8 pixels that are tried first."""
    manifest = exported(made / f"{name}.keras", tmp_path)

    assert tensors(manifest)[0] == {"picture": ("FP32", (-1, -1, -1, 3))}
    samples = Samples.read(tmp_path / "made" / "1")
    assert samples is not None
    assert samples.inputs["picture"].shape == (8, 32, 32, 3)
    assert np.isfinite(samples.outputs[name]).all()


def test_class_that_is_not_imported_is_named(made: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from training.export_command import export; export()", str(made / "layers.keras")]

    done = subprocess.run([*command, "--repository", str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "layers.keras cannot be loaded: Could not locate class 'Twice'. If it has classes of its own, register" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_model_without_parity_leaves_nothing_behind(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityFailed, match=r"export.parity_tolerance in a spec, --tolerance of axon export"):
        exported(made / "sequential.keras", tmp_path, tolerance=1e-30)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--value-range", "5", "1"], "5 1 is no range; expected two finite numbers, the smaller first"),
        (["--value-range", "nan", "1"], "nan 1 is no range"),
        (["--value-range", "0", "inf"], "0 inf is no range"),
        (["--tolerance", "nan"], "nan is no finite number; expected one above 0"),
    ],
)
def test_option_that_means_nothing_is_refused_before_the_file_is_read(made: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(export, [str(made / "notes.keras"), *options])

    assert result.exit_code == 2
    assert message in result.output


def test_lambda_of_a_trusted_file_is_exported(made: Path, tmp_path: Path) -> None:
    assert exported(made / "code.keras", tmp_path, trusted=True).version == 1


def test_command_publishes_and_says_where(made: Path, tmp_path: Path) -> None:
    command = "from training.export_command import export; export()"
    arguments = [str(made / "sequential.keras"), "--repository", str(tmp_path), "--name", "flowers", "--labels", "a,b,c"]

    done = subprocess.run([sys.executable, "-c", command, *arguments], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Published flowers version 1: {tmp_path}/flowers/1 (")
    assert done.stderr == ""
    assert Manifest.read(tmp_path / "flowers" / "1").signature.outputs[0].labels == ("a", "b", "c")
