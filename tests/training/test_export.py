from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from service.repository.signature import Signature, TensorSpec
from training.datasets import Rows
from training.datasets.dataset import Dataset, Splits
from training.errors import ExportFailed, ParityFailed
from training.progress import QuietDisplay
from training.spec import (
    Acceptance,
    Activation,
    Adagrad,
    Adam,
    DatasetSpec,
    DenseSpec,
    HiddenLayer,
    Loss,
    RmsProp,
    Sgd,
    TrainingSpec,
)

keras = pytest.importorskip("keras", reason="needs the train extra")
onnx = pytest.importorskip("onnx", reason="needs the train extra")
architectures = pytest.importorskip("training.architectures")
exporting = pytest.importorskip("training.export")
fitting = pytest.importorskip("training.fitting")
parity = pytest.importorskip("training.parity")

pytestmark = pytest.mark.training

TOLERANCE = 1e-5
OPTIMIZERS = [Sgd(momentum=0.9, nesterov=True), Sgd(), Adam(), Adagrad(), RmsProp(momentum=0.5)]
LABELS = ("a", "b", "c")


def rows(count: int = 24, shape: tuple[int, ...] = (4, 3)) -> Rows:
    generator = np.random.default_rng(5)
    values = generator.uniform(-3, 5, (count, *shape)).astype(np.float32)
    return Rows({"values": values}, np.arange(count) % len(LABELS))


def dataset() -> Dataset:
    tensor = TensorSpec(name="values", datatype="FP32", shape=(-1, 4, 3), value_range=(-3.0, 5.0))
    return Dataset(name="small", task="classification", inputs=(tensor,), labels=LABELS, rows=rows())


def plain_signature(shape: tuple[int, ...], size: tuple[int, ...]) -> Signature:
    return Signature(
        inputs=(TensorSpec(name="values", datatype="FP32", shape=(-1, *shape)),),
        outputs=(TensorSpec(name="result", datatype="FP32", shape=(-1, *size)),),
    )


def parity_of(model: Any, signature: Signature, path: Path, shape: tuple[int, ...] = (4, 3)) -> float:
    graph = path / "model.onnx"
    exporting.export(model, signature, graph, opset=18)
    certificate = parity.prove_parity(model, graph, signature, rows(shape=shape), tolerance=TOLERANCE)
    assert certificate.batch_sizes == (1, 2, 7, 64)
    return float(certificate.max_abs_error)


@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_activation_is_exported_faithfully(activation: Activation, tmp_path: Path) -> None:
    fitting.fix_randomness(1)
    slope = 0.2 if activation == "leaky_relu" else None
    layer = HiddenLayer(units=6, activation=activation, slope=slope, dropout=0.5)
    signature = architectures.signature_of(dataset())

    model = architectures.build_model(DenseSpec(hidden=(layer, layer)), signature)

    assert parity_of(model, signature, tmp_path) <= TOLERANCE


@pytest.mark.parametrize(
    ("loss", "optimizer"),
    list(product(get_args(Loss), OPTIMIZERS)),
    ids=lambda value: value if isinstance(value, str) else repr(value).partition("(")[0],
)
def test_every_loss_and_optimizer_fits_and_exports_faithfully(loss: Loss, optimizer: Any, tmp_path: Path) -> None:
    output = "sigmoid" if loss == "binary_crossentropy" else "softmax"
    spec = TrainingSpec(
        name="small",
        seed=1,
        epochs=2,
        batch_size=5,
        loss=loss,
        dataset=DatasetSpec(name="digits"),
        architecture=DenseSpec(hidden=(HiddenLayer(units=4), HiddenLayer(units=4)), output=output),
        optimizer=optimizer,
        acceptance=Acceptance(accuracy=0),
    )
    fitting.fix_randomness(spec.seed)
    signature = architectures.signature_of(dataset())
    model = architectures.build_model(spec.architecture, signature)
    before = [weights.copy() for weights in model.get_weights()]

    epochs = fitting.fit(model, Splits(train=rows(), validation=rows(6), test=rows(6)), spec, QuietDisplay())

    assert epochs == 2
    assert any(not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
    assert parity_of(model, signature, tmp_path) <= TOLERANCE


def test_graph_has_the_declared_names_a_dynamic_batch_and_the_opset(tmp_path: Path) -> None:
    signature = architectures.signature_of(dataset())
    model = architectures.build_model(DenseSpec(hidden=(HiddenLayer(units=4),)), signature)
    exporting.export(model, signature, tmp_path / "model.onnx", opset=17)

    graph = onnx.load(tmp_path / "model.onnx")

    tensors = {tensor.name: tensor.type.tensor_type.shape.dim for tensor in (*graph.graph.input, *graph.graph.output)}
    assert list(tensors) == ["values", "probabilities"]
    assert {axes[0].dim_param for axes in tensors.values()} == {"batch"}
    assert {entry.domain: entry.version for entry in graph.opset_import}[""] == 17


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: keras.ops.log1p(keras.ops.abs(x)),
        lambda x: keras.layers.Discretization(bin_boundaries=[-1.0, 0.0, 2.5], output_mode="int")(x) * 1.0,
        lambda x: keras.layers.Conv1D(6, 2, groups=3)(x) + 1.0,
    ],
    ids=["log1p", "discretization", "grouped convolution"],
)
def test_operation_that_tf2onnx_lacks_is_exported_by_our_own_means(layer: Any, tmp_path: Path) -> None:
    inputs = keras.Input((4, 3), name="values")
    outputs = keras.ops.cast(layer(inputs), "float32")
    model = keras.Model([inputs], [outputs])

    assert parity_of(model, plain_signature((4, 3), outputs.shape[1:]), tmp_path) <= TOLERANCE


def test_operation_without_an_onnx_form_is_refused_by_name(tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 3), name="values")
    model = keras.Model([inputs], [keras.layers.Resizing(8, 8, interpolation="lanczos3")(inputs)])

    with pytest.raises(ExportFailed, match=r"cannot be exported to ONNX: .*ScaleAndTranslate.*not supported"):
        exporting.export(model, plain_signature((4, 4, 3), (8, 8, 3)), tmp_path / "model.onnx", opset=18)
    assert not (tmp_path / "model.onnx").exists()


def test_silently_wrong_graph_is_caught_by_parity(tmp_path: Path) -> None:
    """Area resizing converts without a complaint, into another computation."""
    inputs = keras.Input((9, 9, 1), name="values")
    model = keras.Model([inputs], [keras.layers.Resizing(4, 4, interpolation="area")(inputs)])

    with pytest.raises(ParityFailed, match=r"Output 'result' of the ONNX graph differs from Keras by .* expected at most 1e-05"):
        parity_of(model, plain_signature((9, 9, 1), (4, 4, 1)), tmp_path, shape=(9, 9, 1))


def test_graph_that_is_not_the_declared_one_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((4, 3), name="values")
    model = keras.Model([inputs], [keras.layers.Flatten()(inputs)])

    with pytest.raises(ExportFailed, match=r"has the outputs result FP32 \['batch', 12\]; expected result FP32 \['batch', 5\]"):
        exporting.export(model, plain_signature((4, 3), (5,)), tmp_path / "model.onnx", opset=18)
