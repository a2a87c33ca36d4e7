import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from service.repository.signature import Signature, TensorSpec
from training.errors import ArchitectureError
from training.spec import ArchitectureSpec

keras = pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")
architectures = pytest.importorskip("training.architectures")
exporting = pytest.importorskip("training.export")
parity = pytest.importorskip("training.parity")
rehearsal = pytest.importorskip("training.rehearsal")

from training.edge_rows import random_rows  # noqa: E402 -- below what may be missing

pytestmark = pytest.mark.training

CLASSES = TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 3))
PRICE = TensorSpec(name="price", datatype="FP32", shape=(-1,))
NUMBERS = TensorSpec(name="dense", datatype="FP32", shape=(-1, 5))
PICTURE = TensorSpec(name="image", datatype="UINT8", shape=(-1, 12, 12, 2), value_range=(0.0, 255.0))
GREY = TensorSpec(name="image", datatype="FP32", shape=(-1, 12, 12), value_range=(0.0, 16.0))
TINY = TensorSpec(name="image", datatype="UINT8", shape=(-1, 12, 12, 3), value_range=(0.0, 255.0))
LARGE = TensorSpec(name="image", datatype="UINT8", shape=(-1, 32, 32, 3), value_range=(0.0, 255.0))
SERIES = TensorSpec(name="series", datatype="FP32", shape=(-1, 6, 2))
TOKENS = TensorSpec(name="tokens", datatype="INT64", shape=(-1, 7), value_range=(0.0, 19.0))
CITY = TensorSpec(name="city", datatype="INT64", shape=(-1,), value_range=(0.0, 8.0))
AS_GREY = TensorSpec(name="reconstruction", datatype="FP32", shape=GREY.shape)

HIDDEN = [{"units": 6, "batch_norm": True, "l2": 0.01, "dropout": 0.1}, {"units": 4, "activation": "prelu", "l1": 0.01}]
BLOCKS = [
    {"filters": 4, "layers": 2, "batch_norm": True, "dropout": 0.2},
    {"filters": 4, "separable": True, "activation": "leaky_relu", "slope": 0.1, "pooling": "average"},
]
CHANGES = {"horizontal_flip": True, "translation": 0.1, "rotation": 0.1, "zoom": 0.1}


def build(spec: Mapping[str, Any], inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...] = (CLASSES,)) -> Any:
    keras.utils.set_random_seed(3)
    activations = {tensor.name: spec.get("output", "softmax") for tensor in outputs}
    return architectures.build_model(msgspec.convert(spec, ArchitectureSpec), inputs, outputs, activations)


CASES = [
    pytest.param(
        {"kind": "dense", "hidden": HIDDEN}, (NUMBERS, CITY, GREY), (CLASSES,), id="dense over numbers, ids and a picture"
    ),
    pytest.param({"kind": "dense", "hidden": [], "output": "linear"}, (NUMBERS,), (PRICE,), id="linear regression"),
    pytest.param({"kind": "dense", "hidden": HIDDEN, "output": "sigmoid"}, (NUMBERS,), (CLASSES, PRICE), id="two outputs"),
    pytest.param({"kind": "cnn", "blocks": BLOCKS, "augmentation": CHANGES}, (PICTURE,), (CLASSES,), id="cnn"),
    pytest.param(
        {"kind": "cnn", "blocks": BLOCKS, "global_pooling": True, "hidden": HIDDEN}, (GREY,), (CLASSES,), id="cnn, grey picture"
    ),
    pytest.param(
        {"kind": "residual_cnn", "stages": [{"filters": 4}, {"filters": 6, "stride": 2, "blocks": 2}], "activation": "silu"},
        (PICTURE,),
        (CLASSES,),
        id="residual cnn",
    ),
    pytest.param(
        {"kind": "recurrent", "layers": [{"units": 4, "bidirectional": True}, {"units": 3, "cell": "gru"}]},
        (SERIES,),
        (CLASSES,),
        id="recurrent, stacked",
    ),
    pytest.param(
        {"kind": "recurrent", "layers": [{"units": 4, "cell": "simple_rnn"}], "embedding": 3, "mask_padding": True},
        (TOKENS,),
        (CLASSES,),
        id="recurrent over ids",
    ),
    pytest.param(
        {"kind": "attention", "embedding": 8, "heads": 2, "blocks": 2, "mask_padding": True}, (TOKENS,), (CLASSES,), id="attention"
    ),
    pytest.param({"kind": "wide_and_deep", "hidden": HIDDEN}, (NUMBERS, CITY, TOKENS), (CLASSES,), id="wide and deep"),
    pytest.param({"kind": "autoencoder", "hidden": HIDDEN, "code": 2, "output": "sigmoid"}, (GREY,), (AS_GREY,), id="autoencoder"),
    pytest.param({"kind": "application", "name": "MobileNet", "pixels": [-1, 1]}, (LARGE,), (CLASSES,), id="keras.applications"),
]


@pytest.mark.parametrize(("spec", "inputs", "outputs"), CASES)
def test_architecture_is_built_and_exported_faithfully(
    spec: Mapping[str, Any], inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], tmp_path: Path
) -> None:
    signature = Signature(inputs, outputs)
    model = build(spec, inputs, outputs)
    exporting.export(model, signature, tmp_path / "model.onnx", opset=18)

    certificate = parity.prove_parity(
        exporting.program_of(model, signature).run,
        tmp_path / "model.onnx",
        signature,
        random_rows(signature, 64, seed=2),
        tolerance=1e-5,
    )

    assert [tensor.name for tensor in model.inputs] == [spec.name for spec in inputs]
    assert certificate.batch_sizes == (1, 2, 7, 64)


def test_autoencoder_reconstructs_in_the_units_of_its_input() -> None:
    model = build({"kind": "autoencoder", "code": 2, "output": "sigmoid"}, (GREY,), (AS_GREY,))

    given = np.asarray(model([np.full((1, 12, 12), 16.0, np.float32)]))

    assert given.min() >= 0
    assert 1 < given.max() <= 16


def test_wide_part_starts_without_an_opinion_on_categories() -> None:
    model = build({"kind": "wide_and_deep", "hidden": HIDDEN}, (NUMBERS, CITY))

    wide = [layer for layer in model.layers if isinstance(layer, keras.layers.Embedding) and layer.output_dim == 3]

    assert [not np.any(layer.get_weights()[0]) for layer in wide] == [True]


def test_equal_seeds_give_equal_weights() -> None:
    spec = {"kind": "cnn", "blocks": BLOCKS, "hidden": HIDDEN}

    first, second = (build(spec, (PICTURE,)).get_weights() for _ in range(2))

    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_rehearsal_draws_no_random_number() -> None:
    """A run with a rehearsal gives the same model as one without."""
    model = build({"kind": "cnn", "blocks": BLOCKS, "augmentation": CHANGES}, (PICTURE,))
    before = [np.asarray(weight).copy() for weight in model.variables]

    rehearsal.rehearse_export(model, Signature((PICTURE,), (CLASSES,)), 18)
    fresh = keras.random.uniform((1,))

    build({"kind": "cnn", "blocks": BLOCKS, "augmentation": CHANGES}, (PICTURE,))
    assert np.array_equal(fresh, keras.random.uniform((1,)))
    assert all(np.array_equal(old, new) for old, new in zip(before, model.variables, strict=True))


@pytest.mark.parametrize(
    ("spec", "inputs", "message"),
    [
        ({"kind": "cnn", "blocks": BLOCKS}, (NUMBERS,), r"'cnn' needs pictures .* the input is 'dense' FP32 \[-1, 5\]"),
        ({"kind": "cnn", "blocks": BLOCKS}, (GREY, NUMBERS), r"'cnn' takes one input; .* Use kind = 'dense' or 'wide_and_deep'"),
        ({"kind": "recurrent", "layers": [{"units": 2}]}, (PICTURE,), "'recurrent' needs a sequence"),
        ({"kind": "recurrent", "layers": [{"units": 2}], "mask_padding": True}, (SERIES,), "mask_padding hides token 0"),
        ({"kind": "attention"}, (NUMBERS,), r"'attention' needs token ids INT64 \[-1, length\]"),
        (
            {"kind": "attention"},
            (msgspec.structs.replace(TOKENS, value_range=None),),
            "value_range is None; .* with kind = 'raw'",
        ),
        ({"kind": "application", "name": "ResNet5"}, (LARGE,), "no 'ResNet5'. Did you mean 'ResNet50'"),
        ({"kind": "application", "name": "VGG16"}, (TINY,), r"VGG16 cannot be built for pictures \[12, 12, 3\]"),
        ({"kind": "application", "name": "VGG16", "weights": "no.h5"}, (LARGE,), "'no.h5' is not a file"),
        ({"kind": "autoencoder", "code": 2}, (GREY,), r"gives its input back, \[-1, 12, 12\]; the outputs are probabilities"),
        ({"kind": "dense", "hidden": [{"units": 3_000_000}] * 2}, (NUMBERS,), "weights do not fit in memory; expected fewer units"),
        ({"kind": "custom", "function": "nowhere:build"}, (NUMBERS,), "cannot import 'nowhere'"),
        ({"kind": "custom", "function": "math:build"}, (NUMBERS,), "'math' has no function 'build'"),
        ({"kind": "custom", "function": "math:sqrt"}, (NUMBERS,), "math:sqrt failed: TypeError"),
        ({"kind": "custom", "function": "builtins:dict"}, (NUMBERS,), "returned dict; expected a keras.Model"),
    ],
    ids=lambda value: str(value.get("kind")) if isinstance(value, dict) else None,
)
def test_architecture_that_does_not_fit_is_refused_with_what_would(
    spec: Mapping[str, Any], inputs: tuple[TensorSpec, ...], message: str
) -> None:
    with pytest.raises(ArchitectureError, match=message):
        build(spec, inputs)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "attention", "embedding": 10, "heads": 3}, "does not divide by heads = 3"),
        ({"kind": "application", "name": "VGG16", "frozen": True}, "would keep random weights"),
        ({"kind": "dense", "hidden": [{"units": 2, "slope": 0.1}]}, "belongs to activation 'leaky_relu' or 'prelu'"),
        ({"kind": "cnn", "blocks": []}, "length >= 1"),
        ({"kind": "transformer"}, "Invalid value 'transformer'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_contradiction_in_the_spec_is_refused(spec: Mapping[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(spec, ArchitectureSpec)


def test_function_of_the_user_builds_the_model_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_network.py").write_text(
        "import keras\n"
        "def build(inputs, outputs, units):\n"
        "    start = keras.Input(inputs[0].shape[1:], name=inputs[0].name)\n"
        "    hidden = keras.layers.Dense(units)(start)\n"
        "    return keras.Model(start, keras.layers.Dense(outputs[0].shape[-1])(hidden))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    model = build({"kind": "custom", "function": "my_network:build", "options": {"units": 7}, "output": "linear"}, (NUMBERS,))

    assert model.layers[1].units == 7
    with pytest.raises(ArchitectureError, match=r"with the outputs \[\[-1, 3\]\]; expected 'probabilities' .*, 'price' FP32"):
        build({"kind": "custom", "function": "my_network:build", "options": {"units": 7}}, (NUMBERS,), (CLASSES, PRICE))
