"""Dense layers from input to output."""

import keras

from service.repository.signature import TensorSpec
from training.architectures.blocks import hidden
from training.architectures.inputs import flat, keras_input
from training.architectures.outputs import Head, heads, model
from training.spec.architecture import DenseSpec


def build_dense(spec: DenseSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[Head, ...]) -> keras.Model:
    """Flatten and scale all inputs, put them side by side, and apply the layers."""
    values = [keras_input(tensor) for tensor in inputs]
    return model(values, heads(hidden(flat(values, inputs), spec.hidden), outputs))
