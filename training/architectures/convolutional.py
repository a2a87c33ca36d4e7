"""Convolution blocks, and residual stages."""

from typing import Any

import keras

from service.repository.signature import TensorSpec
from training.architectures.blocks import activation, convolved, dropped, hidden
from training.architectures.inputs import augmented, image, keras_input, pixels
from training.architectures.outputs import Head, heads, model
from training.spec.architecture import CnnSpec, ResidualCnnSpec
from training.spec.layers import ResidualStage


def build_cnn(spec: CnnSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[Head, ...]) -> keras.Model:
    """Apply the blocks to one picture. Raises ArchitectureError if the input is none."""
    tensor = image("cnn", inputs)
    start = keras_input(tensor)
    value = augmented(pixels(start, tensor), spec.augmentation)
    for block in spec.blocks:
        value = convolved(value, block)
    flattened = keras.layers.GlobalAveragePooling2D() if spec.global_pooling else keras.layers.Flatten()
    return model([start], heads(hidden(flattened(value), spec.hidden), outputs))


def build_residual(spec: ResidualCnnSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[Head, ...]) -> keras.Model:
    """Apply the stages to one picture. Raises ArchitectureError if the input is none."""
    tensor = image("residual_cnn", inputs)
    start = keras_input(tensor)
    value = augmented(pixels(start, tensor), spec.augmentation)
    value = _normalised(value, spec.stem_filters or spec.stages[0].filters, spec.stem_kernel)
    value = activation(spec.activation)(value)
    for stage in spec.stages:
        value = _stage(value, stage, spec.activation)
    value = dropped(keras.layers.GlobalAveragePooling2D()(value), spec.dropout)
    return model([start], heads(hidden(value, spec.hidden), outputs))


def _stage(value: Any, stage: ResidualStage, word: str) -> Any:  # noqa: ANN401 -- Keras tensors
    for index in range(stage.blocks):
        stride = stage.stride if index == 0 else 1
        inner = activation(word)(_normalised(value, stage.filters, 3, stride))
        inner = _normalised(inner, stage.filters, 3)
        same = stride == 1 and value.shape[-1] == stage.filters
        shortcut = value if same else _normalised(value, stage.filters, 1, stride)
        value = activation(word)(keras.layers.Add()([shortcut, inner]))
    return value


def _normalised(value: Any, filters: int, kernel: int, stride: int = 1) -> Any:  # noqa: ANN401
    """Convolve, then normalise; the bias would be normalised away."""
    value = keras.layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False)(value)
    return keras.layers.BatchNormalization()(value)
