"""A spec's architecture -> a Keras model on the dataset's raw inputs; scaling is part of it, and so of the served graph."""

from typing import Any

import keras

from service.repository.signature import Signature, TensorSpec
from training.datasets import Dataset
from training.spec import DenseSpec, HiddenLayer

OUTPUT_NAME = "probabilities"


def signature_of(dataset: Dataset) -> Signature:
    """Return what the model for `dataset` takes and gives: its raw inputs, and one probability a label."""
    probabilities = TensorSpec(
        name=OUTPUT_NAME,
        datatype="FP32",
        shape=(-1, len(dataset.labels)),
        labels=dataset.labels,
        description="Probability of each label.",
    )
    return Signature(inputs=dataset.inputs, outputs=(probabilities,))


def build_model(spec: DenseSpec, signature: Signature) -> keras.Model:
    """Build the network with fresh weights, drawn from Keras' global seed. Inputs and outputs are named by the signature."""
    inputs = [keras.Input(tensor.shape[1:], name=tensor.name) for tensor in signature.inputs]
    flat = [keras.layers.Flatten()(_scaled(value, tensor)) for value, tensor in zip(inputs, signature.inputs, strict=True)]
    values = flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)
    for layer in spec.hidden:
        values = _hidden(values, layer)
    (output,) = signature.outputs
    outputs = keras.layers.Dense(output.shape[-1], activation=spec.output, name=output.name)(values)
    return keras.Model(inputs, outputs)


def _scaled(value: Any, tensor: TensorSpec) -> Any:  # noqa: ANN401 -- Keras tensors
    """Map the declared range of values onto 0..1; an input without one is taken as it is."""
    if tensor.value_range is None:
        return value
    low, high = tensor.value_range
    return keras.layers.Rescaling(1 / (high - low), offset=-low / (high - low))(value)


def _hidden(values: Any, layer: HiddenLayer) -> Any:  # noqa: ANN401 -- Keras tensors
    """Apply a dense layer, its activation and its dropout."""
    values = keras.layers.Dense(layer.units)(values)
    if layer.activation == "leaky_relu" and layer.slope is not None:
        values = keras.layers.LeakyReLU(negative_slope=layer.slope)(values)
    else:
        values = keras.layers.Activation(layer.activation)(values)
    return keras.layers.Dropout(layer.dropout)(values) if layer.dropout else values
