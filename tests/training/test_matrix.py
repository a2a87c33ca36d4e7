"""Every layer and activation that Axon supports, exported and compared at batch 1, 2, 7 and 64; every other one refused."""
# ruff: noqa: PLW0108 -- a layer is made when its case runs, not when the cases are collected

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from service.repository.signature import TensorSpec
from training.errors import ExportFailed
from training.spec.layers import Activation, HiddenLayer, Output

keras = pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")
blocks = pytest.importorskip("training.architectures.blocks")
exporting = pytest.importorskip("training.export")
loading = pytest.importorskip("training.export.loading")
parity = pytest.importorskip("training.parity")
rehearsal = pytest.importorskip("training.rehearsal")
tf = pytest.importorskip("tensorflow")

from training.edge_rows import random_rows  # noqa: E402 -- below what may be missing

pytestmark = pytest.mark.training

TOLERANCE = 1e-5
L = keras.layers
Build = Callable[[Any], Any]
VECTOR, SERIES, PICTURE, VOLUME = (6,), (5, 3), (9, 9, 4), (5, 5, 5, 2)


def proven(build: Build, shape: tuple[int | None, ...], path: Path, dtype: str = "float32", top: int = 9) -> Any:
    """Build a model of one input, export it, prove parity; return the certificate."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input(shape, name="values", dtype=dtype)
    model = keras.Model(inputs, build(inputs))
    _randomise(model)
    signature = loading.signature_of_model(model)
    rows = random_rows(_ranged(signature, dtype, top), 64, seed=1)
    exporting.export(model, signature, path / "model.onnx", opset=18)
    reference = exporting.program_of(model, signature).run
    return parity.prove_parity(reference, path / "model.onnx", _ranged(signature, dtype, top), rows, tolerance=TOLERANCE)


def _randomise(model: Any) -> None:
    """Give biases and normalisation statistics, which start at 0 and 1, values that matter."""
    generator = np.random.default_rng(2)
    for weight in model.weights:
        if weight.ndim == 1 and weight.dtype == "float32":
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))


def _ranged(signature: Any, dtype: str, top: int) -> Any:
    (spec,) = signature.inputs
    value_range = None if dtype == "float32" else (0.0, float(top))
    ranged = TensorSpec(name=spec.name, datatype=spec.datatype, shape=spec.shape, value_range=value_range)
    return type(signature)((ranged,), signature.outputs)


@pytest.mark.parametrize("word", get_args(Activation))
def test_activation_is_exported_faithfully(word: Activation, tmp_path: Path) -> None:
    layer = HiddenLayer(units=4, activation=word)

    certificate = proven(lambda x: L.Dense(3)(blocks.activated(L.Dense(4)(x), layer)), VECTOR, tmp_path)

    assert certificate.batch_sizes == (1, 2, 7, 64)
    assert certificate.max_abs_error <= TOLERANCE


@pytest.mark.parametrize("word", get_args(Output))
def test_output_activation_is_exported_faithfully(word: Output, tmp_path: Path) -> None:
    assert proven(lambda x: L.Dense(4, activation=word)(x), VECTOR, tmp_path).batch_invariance <= TOLERANCE


@pytest.mark.parametrize("slope", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("word", ["leaky_relu", "prelu"])
def test_slope_is_exported_faithfully(word: Any, slope: float, tmp_path: Path) -> None:
    layer = HiddenLayer(units=4, activation=word, slope=slope)

    assert proven(lambda x: blocks.activated(L.Dense(4)(x), layer), VECTOR, tmp_path).max_abs_error <= TOLERANCE


def masked(x: Any) -> Any:
    return L.LSTM(4)(L.Masking()(x))


def attended(x: Any, **settings: Any) -> Any:
    return L.MultiHeadAttention(2, 4)(x, x, **settings)


def grouped_attention(x: Any) -> Any:
    return L.GroupQueryAttention(4, 4, 2)(x, x)


def normalised(x: Any) -> Any:
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (32, *x.shape[1:])))
    return layer(x)


VECTOR_LAYERS: dict[str, Build] = {
    "Dense": lambda x: L.Dense(5)(x),
    "BatchNormalization": lambda x: L.BatchNormalization()(x),
    "LayerNormalization": lambda x: L.LayerNormalization()(x),
    "RMSNormalization": lambda x: L.RMSNormalization()(x),
    "GroupNormalization": lambda x: L.GroupNormalization(2)(x),
    "UnitNormalization": lambda x: L.UnitNormalization()(x),
    "SpectralNormalization": lambda x: L.SpectralNormalization(L.Dense(3))(x),
    "Normalization": normalised,
    "Discretization": lambda x: keras.ops.cast(L.Discretization([-1.0, 0.0, 1.5])(x), "float32"),
    "Discretization one-hot": lambda x: L.Discretization([-1.0, 0.0, 1.5], output_mode="one_hot")(L.Dense(1)(x)),
    "noise layers": lambda x: L.GaussianDropout(0.3)(L.GaussianNoise(1.0)(L.AlphaDropout(0.2)(L.Dropout(0.5)(x)))),
    "ActivityRegularization": lambda x: L.ActivityRegularization(0.1)(x),
    "Reshape and Permute": lambda x: L.Permute((2, 1))(L.Reshape((2, 3))(x)),
    "RepeatVector": lambda x: L.RepeatVector(3)(x),
    "merging": lambda x: L.Concatenate()([L.Add()([x, x]), L.Subtract()([x, x * 2]), L.Multiply()([x, x]), L.Average()([x, x])]),
    "Maximum and Minimum": lambda x: L.Maximum()([L.Minimum()([x, -x]), x * 0.5]),
    "Dot": lambda x: L.Dot(axes=1)([x, x * 0.1]),
    "LeakyReLU, ELU, ReLU, Softmax": lambda x: L.Softmax()(L.ReLU(max_value=4.0)(L.ELU(0.5)(L.LeakyReLU(0.1)(x)))),
    "Rescaling": lambda x: L.Rescaling(0.5, offset=-1.0)(x),
    "top_k": lambda x: tf_layer(lambda y: tf.math.top_k(y, 3).values)(x),
    "log1p and expm1": lambda x: keras.ops.log1p(keras.ops.expm1(keras.ops.abs(keras.ops.tanh(x)))),
}


def tf_layer(function: Build) -> Any:
    class Applied(L.Layer):
        def call(self, inputs: Any) -> Any:
            return function(inputs)

    return Applied()


SERIES_LAYERS: dict[str, Build] = {
    "Conv1D": lambda x: L.Conv1D(4, 3, strides=2, padding="same")(x),
    "Conv1D causal dilated": lambda x: L.Conv1D(4, 3, padding="causal", dilation_rate=2)(x),
    "Conv1D grouped": lambda x: L.Conv1D(6, 2, groups=3)(x),
    "SeparableConv1D": lambda x: L.SeparableConv1D(4, 3)(x),
    "DepthwiseConv1D": lambda x: L.DepthwiseConv1D(3)(x),
    "Conv1DTranspose": lambda x: L.Conv1DTranspose(4, 3, strides=2, padding="same")(x),
    "pooling 1D": lambda x: L.AveragePooling1D(2)(L.MaxPooling1D(2)(x)),
    "global pooling 1D": lambda x: L.Concatenate()([L.GlobalMaxPooling1D()(x), L.GlobalAveragePooling1D()(x)]),
    "shapes 1D": lambda x: L.UpSampling1D(2)(L.Cropping1D(1)(L.ZeroPadding1D(2)(x))),
    "LSTM": lambda x: L.LSTM(4)(x),
    "LSTM stacked": lambda x: L.LSTM(4)(L.LSTM(5, return_sequences=True)(x)),
    "LSTM backwards": lambda x: L.LSTM(4, go_backwards=True)(x),
    "LSTM masked": masked,
    "GRU": lambda x: L.GRU(4)(x),
    "GRU stacked": lambda x: L.GRU(4)(L.GRU(5, return_sequences=True)(x)),
    "SimpleRNN": lambda x: L.SimpleRNN(4)(x),
    "Bidirectional LSTM": lambda x: L.Bidirectional(L.LSTM(3))(x),
    "Bidirectional GRU": lambda x: L.Bidirectional(L.GRU(3, return_sequences=True))(x),
    "RNN of cells": lambda x: L.RNN([L.LSTMCell(3), L.GRUCell(2)])(x),
    "TimeDistributed": lambda x: L.TimeDistributed(L.Dense(2))(x),
    "MultiHeadAttention": attended,
    "MultiHeadAttention causal": lambda x: attended(x, use_causal_mask=True),
    "GroupQueryAttention": grouped_attention,
    "Attention": lambda x: L.Attention()([x, x]),
    "AdditiveAttention": lambda x: L.AdditiveAttention()([x, x]),
    "EinsumDense": lambda x: L.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d")(x),
    "PReLU": lambda x: L.PReLU(alpha_initializer="uniform", shared_axes=[1])(x),
}

PICTURE_LAYERS: dict[str, Build] = {
    "Conv2D": lambda x: L.Conv2D(3, 3, strides=2, padding="same")(x),
    "Conv2D dilated": lambda x: L.Conv2D(3, 3, dilation_rate=2)(x),
    "Conv2D grouped": lambda x: L.Conv2D(4, 3, groups=2)(x),
    "Conv2D and BatchNormalization": lambda x: L.BatchNormalization()(L.Conv2D(3, 3, use_bias=False)(x)),
    "Conv2DTranspose": lambda x: L.Conv2DTranspose(3, 3, strides=2, padding="same")(x),
    "DepthwiseConv2D": lambda x: L.DepthwiseConv2D(3, depth_multiplier=2)(x),
    "SeparableConv2D": lambda x: L.SeparableConv2D(5, 3)(x),
    "pooling 2D": lambda x: L.AveragePooling2D(2, padding="same")(L.MaxPooling2D(2)(x)),
    "global pooling 2D": lambda x: L.Concatenate()([L.GlobalMaxPooling2D()(x), L.GlobalAveragePooling2D()(x)]),
    "adaptive pooling 2D": lambda x: L.Add()([L.AdaptiveAveragePooling2D(3)(x), L.AdaptiveMaxPooling2D(3)(x)]),
    "shapes 2D": lambda x: L.CenterCrop(6, 6)(L.Cropping2D(1)(L.ZeroPadding2D(((1, 2), (0, 3)))(x))),
    "UpSampling2D": lambda x: L.UpSampling2D(2)(x),
    "UpSampling2D bilinear": lambda x: L.UpSampling2D(2, interpolation="bilinear")(x),
    "Resizing bilinear": lambda x: L.Resizing(6, 5)(x),
    "Resizing nearest": lambda x: L.Resizing(18, 18, interpolation="nearest")(x),
    "GroupNormalization 2D": lambda x: L.GroupNormalization(2)(L.Conv2D(4, 3, padding="same")(x)),
    "random pictures": lambda x: L.RandomContrast(0.2)(L.RandomZoom(0.1)(L.RandomRotation(0.1)(L.RandomFlip()(x)))),
    "SpatialDropout2D and RandomTranslation": lambda x: L.SpatialDropout2D(0.3)(L.RandomTranslation(0.1, 0.1)(x)),
    "ConvLSTM2D": lambda x: L.ConvLSTM2D(2, 3)(L.Reshape((3, 3, 9, 4))(x)),
    "Flatten": lambda x: L.Flatten()(x),
}

VOLUME_LAYERS: dict[str, Build] = {
    "Conv3D": lambda x: L.Conv3D(3, 2)(x),
    "Conv3DTranspose": lambda x: L.Conv3DTranspose(2, 2)(x),
    "pooling 3D": lambda x: L.AveragePooling3D(2)(L.MaxPooling3D(2)(x)),
    "shapes 3D": lambda x: L.UpSampling3D(2)(L.Cropping3D(1)(L.ZeroPadding3D(1)(x))),
}

FLOAT_CASES = [
    pytest.param(build, shape, id=name)
    for layers, shape in ((VECTOR_LAYERS, VECTOR), (SERIES_LAYERS, SERIES), (PICTURE_LAYERS, PICTURE), (VOLUME_LAYERS, VOLUME))
    for name, build in layers.items()
]


@pytest.mark.parametrize(("build", "shape"), FLOAT_CASES)
def test_layer_is_exported_faithfully(build: Build, shape: tuple[int, ...], tmp_path: Path) -> None:
    certificate = proven(build, shape, tmp_path)

    assert certificate.max_abs_error <= TOLERANCE
    assert certificate.batch_invariance <= TOLERANCE


@pytest.mark.parametrize(
    ("build", "dtype"),
    [
        pytest.param(lambda x: L.Embedding(10, 3)(x), "int64", id="Embedding of int64"),
        pytest.param(lambda x: L.Embedding(10, 3)(x), "int32", id="Embedding of int32"),
        pytest.param(lambda x: L.LSTM(3)(L.Embedding(10, 3, mask_zero=True)(x)), "int64", id="Embedding masked"),
        pytest.param(lambda x: L.CategoryEncoding(10, output_mode="multi_hot")(x), "int64", id="CategoryEncoding multi-hot"),
        pytest.param(lambda x: L.CategoryEncoding(10, output_mode="count")(x), "int64", id="CategoryEncoding count"),
        pytest.param(lambda x: L.CategoryEncoding(10, output_mode="one_hot")(x[:, :1]), "int64", id="CategoryEncoding one-hot"),
        pytest.param(lambda x: L.Rescaling(1 / 255)(x), "uint8", id="Rescaling of uint8"),
    ],
)
def test_integer_input_keeps_its_type_and_its_values(build: Build, dtype: str, tmp_path: Path) -> None:
    assert proven(build, (7,), tmp_path, dtype=dtype).max_abs_error <= TOLERANCE


def test_free_time_axis_and_free_picture_size_are_exported(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    assert proven(lambda x: L.LSTM(3)(x), (None, 3), tmp_path / "a").max_abs_error <= TOLERANCE
    assert proven(lambda x: L.GlobalAveragePooling2D()(L.Conv2D(2, 3)(x)), (None, None, 2), tmp_path / "b").rows == 66


@pytest.mark.parametrize(
    ("build", "shape", "dtype", "message"),
    [
        (lambda x: L.Resizing(4, 4, interpolation="area")(x), PICTURE, "float32", "'area', which computes something else in ONNX"),
        (lambda x: L.Resizing(4, 4, interpolation="bicubic")(x), PICTURE, "float32", "'bicubic', .*use 'bilinear' or 'nearest'"),
        (lambda x: L.Resizing(4, 4, interpolation="lanczos3")(x), PICTURE, "float32", "'lanczos3', .*use 'bilinear' or 'nearest'"),
        (lambda x: L.StringLookup(vocabulary=["a"])(x), (2,), "string", r"StringLookup, .*under \[features\]"),
        (lambda x: L.IntegerLookup(vocabulary=[4, 7])(x), (2,), "int64", r"IntegerLookup, .*under \[features\]"),
        (lambda x: L.Hashing(8)(x), (2,), "int64", r"Hashing, .*under \[features\]"),
        (lambda x: L.TextVectorization(vocabulary=["a"])(x), (1,), "string", r"TextVectorization, .*under \[features\]"),
        (lambda x: keras.ops.argmax(x, axis=-1), VECTOR, "float32", "Bitcast.*use tf.argmax"),
        (
            lambda x: tf_layer(lambda y: tf.abs(tf.signal.rfft(y)) + tf.math.imag(tf.signal.rfft(y)))(x),
            VECTOR,
            "float32",
            "spectrograms",
        ),
        (lambda x: tf_layer(lambda y: tf.random.uniform(tf.shape(y)) + y)(x), VECTOR, "float32", "random at inference"),
        (lambda x: L.Dense(2)(L.Dense(2, dtype="bfloat16")(x)), VECTOR, "float32", "in bfloat16, .*use float32"),
        (lambda x: keras.Sequential([L.Resizing(3, 3, interpolation="area")])(x), PICTURE, "float32", "'area'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_layer_without_a_faithful_form_is_refused_before_training(
    build: Build, shape: tuple[int, ...], dtype: str, message: str
) -> None:
    inputs = keras.Input(shape, name="values", dtype=dtype)
    model = keras.Model(inputs, build(inputs))

    with pytest.raises(ExportFailed, match=message):
        rehearsal.rehearse_export(model, loading.signature_of_model(model), 18)
