"""What comes out of a network: for each declared output a dense layer of its size, with the output's activation and name."""

from math import prod
from typing import Any

import keras
from msgspec import Struct

from service.repository.signature import TensorSpec
from training.errors import ArchitectureError
from training.spec.layers import Output


class Head(Struct, frozen=True):
    """What a network gives: a tensor, and the activation that makes it."""

    tensor: TensorSpec
    activation: Output

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape without the batch axis. Raises ArchitectureError if one of its axes has no fixed size."""
        return fixed_sizes(self.tensor)


def heads(value: Any, outputs: tuple[Head, ...]) -> list[Any]:  # noqa: ANN401 -- Keras tensors
    """Give every output a dense layer of its own on top of `value` [batch, features]."""
    return [_head(value, output) for output in outputs]


def _head(value: Any, output: Head) -> Any:  # noqa: ANN401
    """Return the output's values; the last layer carries its name."""
    if len(output.sizes) == 1:
        return keras.layers.Dense(output.sizes[0], activation=output.activation, name=output.tensor.name)(value)
    return shaped(keras.layers.Dense(prod(output.sizes), activation="linear")(value), output)


def shaped(value: Any, output: Head) -> Any:  # noqa: ANN401
    """Bring [batch, values] into the shape of `output`, then activate it along the last axis."""
    sizes, name = output.sizes, output.tensor.name
    if not sizes:
        return keras.layers.Reshape((), name=name)(keras.layers.Activation(output.activation)(value))
    if value.shape[1:] != sizes:
        value = keras.layers.Reshape(sizes)(value)
    return keras.layers.Activation(output.activation, name=name)(value)


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
