"""Layers by their words in a spec: activations, penalties, dense layers, convolution blocks."""

from typing import Any, Final

import keras

from training.spec.layers import Activated, ConvolutionBlock, HiddenLayer

_OTHER_NAMES: Final = {"hard_swish": "hard_silu", "swish": "silu"}


def activated(value: Any, layer: Activated) -> Any:  # noqa: ANN401 -- Keras tensors
    """Apply the activation that a layer asks for."""
    if layer.activation == "prelu":
        shared = list(range(1, len(value.shape) - 1))  # one slope a channel: a picture's size is no part of the weights
        start = keras.initializers.Constant(0.25 if layer.slope is None else layer.slope)
        return keras.layers.PReLU(alpha_initializer=start, shared_axes=shared or None)(value)
    if layer.activation == "leaky_relu" and layer.slope is not None:
        return keras.layers.LeakyReLU(negative_slope=layer.slope)(value)
    return activation(layer.activation)(value)


def activation(word: str) -> keras.layers.Layer:
    """Return the layer of an activation word without a slope."""
    if word == "gelu_tanh":
        return ApproximateGelu()
    return keras.layers.Activation(_OTHER_NAMES.get(word, word))


@keras.saving.register_keras_serializable(package="axon")
class ApproximateGelu(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """gelu by its tanh formula (Hendrycks and Gimpel, 2016, equation 2): half the time of the exact one."""

    def call(self, inputs: Any) -> Any:  # noqa: ANN401
        """Apply it; the shape stays."""
        return keras.ops.gelu(inputs, approximate=True)


def penalty(layer: Activated) -> keras.regularizers.Regularizer | None:
    """Return the penalty on a layer's weights; None if it has none."""
    return keras.regularizers.L1L2(layer.l1, layer.l2) if layer.l1 or layer.l2 else None


def dropped(value: Any, rate: float) -> Any:  # noqa: ANN401
    """Drop a share of the values while fitting."""
    return keras.layers.Dropout(rate)(value) if rate else value


def hidden(value: Any, layers: tuple[HiddenLayer, ...]) -> Any:  # noqa: ANN401
    """Apply dense layers one after the other to [batch, any]."""
    for layer in layers:
        value = keras.layers.Dense(layer.units, kernel_regularizer=penalty(layer), use_bias=not layer.batch_norm)(value)
        value = keras.layers.BatchNormalization()(value) if layer.batch_norm else value
        value = dropped(activated(value, layer), layer.dropout)
    return value


def convolved(value: Any, block: ConvolutionBlock) -> Any:  # noqa: ANN401
    """Apply a convolution block to [batch, height, width, channels]; it never pools below one pixel."""
    for _ in range(block.layers):
        value = _convolution(value, block)
        value = keras.layers.BatchNormalization()(value) if block.batch_norm else value
        value = activated(value, block)
    if block.pool > 1:
        pool = keras.layers.MaxPooling2D if block.pooling == "max" else keras.layers.AveragePooling2D
        value = pool(block.pool, padding="same")(value)
    return dropped(value, block.dropout)


def _convolution(value: Any, block: ConvolutionBlock) -> Any:  # noqa: ANN401
    settings = {"padding": "same", "use_bias": not block.batch_norm}
    if block.separable:
        penalties = {"depthwise_regularizer": penalty(block), "pointwise_regularizer": penalty(block)}
        return keras.layers.SeparableConv2D(block.filters, block.kernel, **settings, **penalties)(value)
    return keras.layers.Conv2D(block.filters, block.kernel, kernel_regularizer=penalty(block), **settings)(value)
