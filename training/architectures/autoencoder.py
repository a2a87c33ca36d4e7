"""Dense layers down to a code and back up to the input."""

from math import prod

import keras

from service.repository.signature import TensorSpec
from training.architectures.blocks import hidden
from training.architectures.inputs import flat, keras_input, the_input
from training.architectures.outputs import Head, fixed_sizes, model
from training.errors import ArchitectureError
from training.spec.architecture import AutoencoderSpec


def build_autoencoder(spec: AutoencoderSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[Head, ...]) -> keras.Model:
    """Reconstruct the one input in its own units. Raises ArchitectureError if the output has another shape."""
    tensor = the_input("autoencoder", inputs)
    given = [output.tensor for output in outputs]
    if [output.shape for output in given] != [tensor.shape]:
        raise ArchitectureError(
            f"architecture 'autoencoder' gives its input back, {list(tensor.shape)}; "
            f"the outputs are {', '.join(f'{output.name} {list(output.shape)}' for output in given)}."
        )
    start = keras_input(tensor)
    code = keras.layers.Dense(spec.code, activation="linear", name="code")(hidden(flat([start], inputs), spec.hidden))
    value = keras.layers.Dense(prod(fixed_sizes(tensor)), activation=spec.output)(hidden(code, spec.hidden[::-1]))
    return model([start], [_in_units(value, tensor, given[0])])


def _in_units(value: keras.KerasTensor, tensor: TensorSpec, output: TensorSpec) -> keras.KerasTensor:
    """Undo the scaling of the input, so that the loss is in the input's units."""
    low, high = tensor.value_range or (0.0, 1.0)
    value = keras.layers.Reshape(fixed_sizes(output))(value)
    return keras.layers.Rescaling(high - low, offset=low, name=output.name)(value)
