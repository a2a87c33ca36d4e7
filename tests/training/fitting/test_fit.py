import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the train extra")

from service.repository.signature import Signature, TensorSpec  # noqa: E402 -- after the check
from training.datasets.dataset import Rows  # noqa: E402 -- after the check
from training.errors import FitFailed, FitRefused  # noqa: E402 -- after the check
from training.fitting import batches, choose_precision, fit, fix_randomness, run_directory, to_float32  # noqa: E402 -- after the check
from training.fitting.losses import build_loss, cost_of_the_mean  # noqa: E402 -- after the check
from training.progress import QuietDisplay  # noqa: E402 -- after the check
from training.standardising import build_network  # noqa: E402 -- after the check

pytestmark = pytest.mark.training


def fitted(model: Any, rows: Rows, spec: Any, workdir: Path, **options: Any) -> Any:
    return fit(model, rows, rows.take(np.arange(min(50, len(rows)))), spec, workdir=workdir, display=QuietDisplay(), **options)


def measured(rows: Rows, columns: int | None = None) -> Rows:
    """Return the rows with numbers between 0 and 1 as targets."""
    values = 1 / (1 + np.exp(-rows.inputs["x"][:, : columns or 1]))
    return Rows(rows.inputs, {"y": values if columns else values[:, 0]})


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        {"name": "sparse_categorical_crossentropy", "label_smoothing": 0.1},
        "categorical_crossentropy",
        {"name": "categorical_crossentropy", "label_smoothing": 0.1},
        "kl_divergence",
        "mse",
    ],
    ids=str,
)
def test_labels_are_learnt_with_every_loss_for_them(tiny: Any, tmp_path: Path, loss: Any) -> None:
    spec = tiny.spec_of(loss=loss, epochs=25)

    history = fitted(tiny.network(spec), tiny.labelled(), spec, tmp_path)

    assert history.ran == 25
    assert history.epochs[-1].metrics["val_accuracy"] > 0.75
    assert history.epochs[-1].metrics["loss"] < history.epochs[0].metrics["loss"]


@pytest.mark.parametrize("outputs", [1, 2], ids=["one unit", "a unit a label"])
def test_two_labels_are_learnt_with_binary_crossentropy(tiny: Any, tmp_path: Path, outputs: int) -> None:
    rows = tiny.labelled()
    rows = Rows(rows.inputs, {"y": (rows.targets["y"] == 0).astype(np.int64)})
    loss = {"name": "binary_crossentropy", "label_smoothing": 0.05}
    spec = tiny.spec_of(loss=loss, epochs=25, architecture={"kind": "dense", "hidden": [{"units": 8}], "output": "sigmoid"})

    history = fitted(tiny.network(spec, outputs=outputs, activation="sigmoid"), rows, spec, tmp_path)

    assert history.epochs[-1].metrics["val_accuracy"] > 0.75


@pytest.mark.parametrize("columns", [None, 2], ids=["one number", "two numbers"])
@pytest.mark.parametrize("loss", ["mse", "mae", {"name": "huber", "delta": 0.1}, "log_cosh"], ids=str)
def test_numbers_are_learnt_with_every_loss_for_them(tiny: Any, tmp_path: Path, loss: Any, columns: int | None) -> None:
    spec = tiny.spec_of(loss=loss, epochs=25, architecture={"kind": "dense", "hidden": [], "output": "linear"})

    history = fitted(
        tiny.network(spec, outputs=columns or 1, activation="linear"), measured(tiny.labelled(), columns), spec, tmp_path
    )

    assert set(history.curves) == {"loss", "mae", "rmse", "val_loss", "val_mae", "val_rmse"}
    assert history.curves["val_rmse"][-1] < 0.25


def test_counts_are_learnt_with_poisson(tiny: Any, tmp_path: Path) -> None:
    spec = tiny.spec_of(loss="poisson", epochs=25, architecture={"kind": "dense", "hidden": [], "output": "exponential"})

    history = fitted(tiny.network(spec, outputs=1, activation="exponential"), measured(tiny.labelled()), spec, tmp_path)

    assert history.curves["loss"][-1] < history.curves["loss"][0]


def test_best_weights_come_back_and_the_fit_ends_early(tiny: Any, tmp_path: Path) -> None:
    spec = tiny.spec_of(epochs=40, optimizer={"name": "adam", "learning_rate": 0.3}, early_stopping={"patience": 3})
    model, rows = tiny.network(spec), tiny.labelled()

    history = fitted(model, rows, spec, tmp_path)

    losses = history.curves["val_loss"]
    assert history.stopped_early
    assert history.ran == history.best_epoch + 3 < 40
    assert losses[history.best_epoch - 1] == min(losses)
    probabilities = np.asarray(model([rows.inputs["x"][:50]], training=False))
    assert -np.log(probabilities[np.arange(50), rows.targets["y"][:50]]).mean() == pytest.approx(min(losses), rel=1e-4)


def test_dict_outputs_and_two_inputs_go_by_their_names(tiny: Any, tmp_path: Path) -> None:
    spec = tiny.spec_of(epochs=25)
    fix_randomness(1)
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    output = keras.layers.Dense(3, activation="softmax", name="y")(keras.layers.Concatenate()([b, a]))
    model = keras.Model({"b": b, "a": a}, {"y": output})
    values, targets = tiny.labelled().inputs["x"], tiny.labelled().targets

    history = fitted(model, Rows({"b": values[:, 3:], "a": values[:, :3]}, targets), spec, tmp_path)

    assert history.curves["val_accuracy"][-1] > 0.75


def test_subclassed_model_that_was_never_called_is_fitted(tiny: Any, tmp_path: Path) -> None:
    class Own(keras.Model):  # type: ignore[misc]  # Keras is untyped
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3, activation="softmax")

        def call(self, x: Any) -> Any:
            return self.dense(x)

    spec = tiny.spec_of(epochs=25)
    fix_randomness(spec.seed)

    history = fitted(Own(), tiny.labelled(), spec, tmp_path)

    assert history.curves["val_accuracy"][-1] > 0.75


def test_size_of_a_chunk_changes_no_bit(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for size in (1, 2**24):
        monkeypatch.setattr(batches, "_CHUNK_BYTES", size)
        model = tiny.network(tiny.spec_of())
        fitted(model, tiny.labelled(), tiny.spec_of(), tmp_path / str(size))
        digests.append(tiny.digest(model))

    assert digests[0] == digests[1]


def test_class_weights_shift_the_balance(tiny: Any, tmp_path: Path) -> None:
    """A label that weighs a hundred times as much as the others is found more often."""
    found = []
    for weight in (1.0, 100.0):
        spec = tiny.spec_of(class_weights={"a": weight, "b": 1.0, "c": 1.0})
        model = tiny.network(spec)
        fitted(model, tiny.labelled(), spec, tmp_path / str(weight), labels=[("a", "b", "c")])
        found.append((np.asarray(model([tiny.labelled().inputs["x"]])).argmax(axis=1) == 0).sum())

    assert found[1] > 1.5 * found[0]


@pytest.mark.parametrize(
    ("changes", "change_rows", "message"),
    [
        pytest.param(
            {"class_weights": {"a": 2.0}}, None, r"class_weights and the dataset differ in 'b', 'c'", id="weights missing"
        ),
        pytest.param({"early_stopping": {"monitor": "val_mae"}}, None, r"early_stopping.monitor = 'val_mae'", id="foreign monitor"),
        pytest.param({"tensorboard": True}, None, r"pip install tensorboard", id="no TensorBoard"),
        pytest.param(
            {}, lambda rows: Rows(rows.inputs, {"y": rows.targets["y"] + 1}), r"hold label 3.*expected 0 to 2", id="label too many"
        ),
        pytest.param(
            {},
            lambda rows: Rows(rows.inputs, {"y": rows.targets["y"] / 1.0}),
            r"targets are numbers",
            id="loss of labels for numbers",
        ),
        pytest.param({}, lambda rows: rows.take(np.arange(0)), r"no training rows", id="no rows"),
        pytest.param(
            {"loss": "mse"},
            lambda rows: Rows(rows.inputs, {"y": np.full((len(rows), 3), np.nan)}),
            r"600 of the targets",
            id="NaN targets",
        ),
        pytest.param(
            {"loss": "mse"}, lambda rows: Rows(rows.inputs, {"y": np.zeros((len(rows), 2))}), r"shape \[2\].*\[3\]", id="shape"
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_first_epoch(
    tiny: Any, tmp_path: Path, changes: dict[str, Any], change_rows: Any, message: str
) -> None:
    if "tensorboard" in changes and importlib.util.find_spec("tensorboard"):
        pytest.skip("tensorboard is installed")
    spec, rows = tiny.spec_of(**changes), tiny.labelled()

    with pytest.raises(FitRefused, match=message):
        fitted(tiny.network(spec), change_rows(rows) if change_rows else rows, spec, tmp_path, labels=[("a", "b", "c")])

    assert list(tmp_path.iterdir()) == []


def test_diverging_fit_names_its_epoch(tiny: Any, tmp_path: Path) -> None:
    spec = tiny.spec_of(
        loss="mse",
        optimizer={"name": "sgd", "learning_rate": 1e6},
        architecture={"kind": "dense", "hidden": [], "output": "linear"},
    )

    with pytest.raises(FitFailed, match=r"became (inf|nan) in epoch \d"):
        fitted(tiny.network(spec, activation="linear"), measured(tiny.labelled(), 3), spec, tmp_path)


def test_half_precision_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda _kind: [])

    with pytest.raises(FitRefused, match="needs a GPU"):
        choose_precision("mixed_float16")


def test_model_fitted_in_half_precision_is_float32_afterwards(tiny: Any, tmp_path: Path) -> None:
    """Also where a GPU would be wanted, the mathematics are the CPU's to check."""
    spec = tiny.spec_of()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = tiny.network(spec)
        history = fitted(model, tiny.labelled(), spec, tmp_path)
        assert keras.config.dtype_policy().name == "float32"
    finally:
        keras.config.set_dtype_policy("float32")
    twin = tiny.network(spec)
    twin.set_weights(model.get_weights())

    values = tiny.labelled().inputs["x"]
    np.testing.assert_array_equal(np.asarray(model([values], training=False)), np.asarray(twin([values], training=False)))
    assert history.curves["loss"][-1] < history.curves["loss"][0]
    assert to_float32(model) is None


def test_run_directory_is_found_again_by_the_same_run_only(tiny: Any) -> None:
    first = run_directory(tiny.spec_of(), "a" * 64)

    assert first == run_directory(tiny.spec_of(acceptance={"accuracy": 0.9}), "a" * 64)
    assert first != run_directory(tiny.spec_of(epochs=7), "a" * 64)
    assert first != run_directory(tiny.spec_of(), "b" * 64)
    assert first.parent == Path(".axon/runs")
    assert first.name.startswith("tiny-")


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("unit", [2.0**40, 2.0**-40], ids=["large", "small"])
def test_unit_of_a_regression_changes_the_loss_and_not_the_fit(tiny: Any, tmp_path: Path, name: str, unit: float) -> None:
    """Squares of the gradients of targets in the billions are beyond 32-bit floats, and SGD's steps grow with them."""
    spec = tiny.spec_of(
        loss="mse",
        optimizer={"name": name, "learning_rate": 0.05},
        dataset={"source": {"kind": "sklearn", "name": "diabetes"}, "task": "regression"},
        acceptance={"r2": 0.1},
    )
    rows = tiny.labelled()
    values = rows.inputs["x"][:, :1] * 2 + 3
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 5)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),),
    )
    losses = []
    for scale in (1.0, unit):
        fix_randomness(spec.seed)
        scaled = Rows(rows.inputs, {"y": values * np.float32(scale)})
        model = build_network(spec, signature, scaled)
        history = fitted(model, scaled, spec, tmp_path / str(scale))
        losses.append([epoch.metrics["loss"] / scale**2 for epoch in history.epochs])

    assert losses[0][-1] < losses[0][0] / 2
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


def test_targets_that_overflow_the_loss_are_refused_before_the_first_epoch() -> None:
    with pytest.raises(FitRefused, match=r"targets reach 1e\+25, where the loss is no finite 32-bit number"):
        cost_of_the_mean(build_loss("mse"), np.array([[0.0], [1e25]], np.float32))


def test_cost_of_the_mean_is_never_negative() -> None:
    """Poisson's loss is, where the mean is above e: as a weight it would make a fit maximise the loss."""
    counts = np.array([[2.0], [9.0], [31.0]], np.float32)

    assert float(build_loss("poisson")(counts, np.full_like(counts, counts.mean()))) < 0
    assert cost_of_the_mean(build_loss("poisson"), counts) > 0
    assert cost_of_the_mean(build_loss("mse"), counts) == pytest.approx(counts.var())
