"""What comes out of a network: for each declared output a dense layer of its size, with the output's activation and name."""

from math import prod
from typing import Any

import keras

from service.repository.signature import TensorSpec
from training.errors import ArchitectureError
from training.spec.layers import Output


def heads(value: Any, outputs: tuple[TensorSpec, ...], activation: Output) -> list[Any]:  # noqa: ANN401 -- Keras tensors
    """Give every output a dense layer of its own on top of `value` [batch, features]."""
    return [head(value, output, activation) for output in outputs]


def head(value: Any, output: TensorSpec, activation: Output) -> Any:  # noqa: ANN401
    """Return the output's values; the last layer carries its name."""
    sizes = fixed_sizes(output)
    if len(sizes) == 1:
        return keras.layers.Dense(sizes[0], activation=activation, name=output.name)(value)
    return shaped(keras.layers.Dense(prod(sizes), activation="linear")(value), output, activation)


def shaped(value: Any, output: TensorSpec, activation: Output) -> Any:  # noqa: ANN401
    """Bring [batch, values] into the shape of `output`, then activate it along the last axis."""
    sizes = fixed_sizes(output)
    if not sizes:
        return keras.layers.Reshape((), name=output.name)(keras.layers.Activation(activation)(value))
    if value.shape[1:] != sizes:
        value = keras.layers.Reshape(sizes)(value)
    return keras.layers.Activation(activation, name=output.name)(value)


def model(inputs: list[Any], outputs: list[Any]) -> keras.Model:
    """Return the network between inputs and outputs; one of either is no list."""
    return keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs)


def fixed_sizes(output: TensorSpec) -> tuple[int, ...]:
    """Return the shape without the batch axis. Raises ArchitectureError if one of its axes has no fixed size."""
    sizes = output.shape[1:]
    if -1 in sizes:
        raise ArchitectureError(
            f"output '{output.name}' has the shape {list(output.shape)}; expected a fixed size on every axis but the first."
        )
    return sizes
