"""What goes into a network: a Keras input for each tensor, scaled, and in the shape that an architecture asks for."""

from typing import Any, Final

import keras

from service.repository.datatypes import to_numpy
from service.repository.signature import TensorSpec
from training.errors import ArchitectureError
from training.spec.layers import Augmentation

_INTEGERS: Final = ("INT64", "INT32")
_IMAGE_AXES: Final = (3, 4)


def keras_input(tensor: TensorSpec) -> Any:  # noqa: ANN401 -- Keras tensors
    """Return the input of `tensor`: its name, its type, its shape without the batch axis."""
    sizes = [None if size == -1 else size for size in tensor.shape[1:]]
    return keras.Input(sizes, name=tensor.name, dtype=to_numpy(tensor.datatype).name)


def scaled(value: Any, tensor: TensorSpec, onto: tuple[float, float] = (0.0, 1.0)) -> Any:  # noqa: ANN401
    """Map the declared range of values onto another one; an input without one is taken as it is, as float32."""
    if tensor.value_range is None:
        return value if value.dtype == "float32" else keras.ops.cast(value, "float32")
    low, high = tensor.value_range
    factor = (onto[1] - onto[0]) / (high - low)
    return keras.layers.Rescaling(factor, offset=onto[0] - low * factor)(value)


def flat(values: list[Any], tensors: tuple[TensorSpec, ...]) -> Any:  # noqa: ANN401
    """Put all inputs side by side: [batch, features]. Categories become one-hot."""
    columns = [_column(value, tensor) for value, tensor in zip(values, tensors, strict=True)]
    return columns[0] if len(columns) == 1 else keras.layers.Concatenate()(columns)


def _column(value: Any, tensor: TensorSpec) -> Any:  # noqa: ANN401
    if is_category(tensor):
        return keras.layers.CategoryEncoding(categories(tensor), output_mode="one_hot")(value)
    return keras.layers.Flatten()(scaled(value, tensor))


def is_category(tensor: TensorSpec) -> bool:
    """Whether the tensor is one category a row: integers [-1]."""
    return tensor.datatype in _INTEGERS and len(tensor.shape) == 1


def is_sequence_of_ids(tensor: TensorSpec) -> bool:
    """Whether the tensor is token ids: integers [-1, length]."""
    return tensor.datatype in _INTEGERS and len(tensor.shape) == 2  # noqa: PLR2004 -- batch and length


def categories(tensor: TensorSpec) -> int:
    """Return how many ids there are, from the range of values 0..n-1. Raises ArchitectureError if it is not declared."""
    if tensor.value_range is None or tensor.value_range[0] < 0:
        raise ArchitectureError(
            f"input '{tensor.name}' holds ids, but its value_range is {tensor.value_range}; expected (0, largest id), "
            "which gives the embedding its size. Count ids from 0, and declare the column under [features] with kind = 'raw'."
        )
    return int(tensor.value_range[1]) + 1


def the_input(kind: str, inputs: tuple[TensorSpec, ...]) -> TensorSpec:
    """Return the only input. Raises ArchitectureError if there are several."""
    if len(inputs) != 1:
        raise ArchitectureError(
            f"architecture '{kind}' takes one input; the dataset gives {', '.join(described(tensor) for tensor in inputs)}. "
            "Use kind = 'dense' or 'wide_and_deep' for several columns."
        )
    return inputs[0]


def image(kind: str, inputs: tuple[TensorSpec, ...]) -> TensorSpec:
    """Return the only input if it is a picture, [-1, height, width] or with channels. Raises ArchitectureError if not."""
    tensor = the_input(kind, inputs)
    if len(tensor.shape) not in _IMAGE_AXES or tensor.datatype in _INTEGERS or -1 in tensor.shape[1:]:
        raise ArchitectureError(
            f"architecture '{kind}' needs pictures [-1, height, width, channels] of a fixed size; "
            f"the input is {described(tensor)}. Use kind = 'dense' for a table and 'recurrent' for a sequence."
        )
    return tensor


def pixels(value: Any, tensor: TensorSpec, onto: tuple[float, float] = (0.0, 1.0)) -> Any:  # noqa: ANN401
    """Return scaled pixels [batch, height, width, channels]; a grey picture gets its one channel."""
    value = scaled(value, tensor, onto)
    return keras.layers.Reshape((*tensor.shape[1:], 1))(value) if len(tensor.shape) == _IMAGE_AXES[0] else value


def augmented(value: Any, changes: Augmentation | None) -> Any:  # noqa: ANN401
    """Change pictures at random while fitting."""
    if changes is None:
        return value
    if changes.horizontal_flip:
        value = keras.layers.RandomFlip("horizontal")(value)
    if changes.translation:
        value = keras.layers.RandomTranslation(changes.translation, changes.translation, fill_mode="nearest")(value)
    if changes.rotation:
        value = keras.layers.RandomRotation(changes.rotation, fill_mode="nearest")(value)
    if changes.zoom:
        value = keras.layers.RandomZoom(changes.zoom, fill_mode="nearest")(value)
    return value


def described(tensor: TensorSpec) -> str:
    """Return name, datatype and shape for a message."""
    return f"'{tensor.name}' {tensor.datatype} {list(tensor.shape)}"
