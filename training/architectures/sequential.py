"""Networks over a sequence: recurrent layers, and attention over token ids."""

from typing import Any, Final

import keras

from service.repository.signature import TensorSpec
from training.architectures.blocks import dropped, hidden
from training.architectures.inputs import categories, described, is_sequence_of_ids, keras_input, scaled, the_input
from training.architectures.outputs import Head, heads, model
from training.errors import ArchitectureError
from training.spec.architecture import AttentionSpec, RecurrentSpec
from training.spec.layers import RecurrentLayer

_CELLS: Final[dict[str, type[keras.layers.Layer]]] = {
    "gru": keras.layers.GRU,
    "lstm": keras.layers.LSTM,
    "simple_rnn": keras.layers.SimpleRNN,
}
_FLOAT_AXES: Final = (2, 3)


def build_recurrent(spec: RecurrentSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[Head, ...]) -> keras.Model:
    """Apply the layers to one sequence, numbers [-1, length(, channels)] or ids [-1, length]. Raises ArchitectureError."""
    tensor = the_input("recurrent", inputs)
    start = keras_input(tensor)
    value = _sequence(start, tensor, spec)
    for index, layer in enumerate(spec.layers):
        value = dropped(_recurrent(layer, whole=index < len(spec.layers) - 1)(value), layer.dropout)
    return model([start], heads(hidden(value, spec.hidden), outputs))


def _sequence(start: Any, tensor: TensorSpec, spec: RecurrentSpec) -> Any:  # noqa: ANN401 -- Keras tensors
    """Return [batch, length, channels]."""
    if is_sequence_of_ids(tensor):
        return keras.layers.Embedding(categories(tensor), spec.embedding, mask_zero=spec.mask_padding)(start)
    if len(tensor.shape) not in _FLOAT_AXES:
        raise ArchitectureError(
            "architecture 'recurrent' needs a sequence of numbers [-1, length, channels] or of ids INT64 [-1, length]; "
            f"the input is {described(tensor)}."
        )
    if spec.mask_padding:
        raise ArchitectureError(f"mask_padding hides token 0, but the input {described(tensor)} holds numbers. Leave it out.")
    value = scaled(start, tensor)
    return value if len(tensor.shape) == _FLOAT_AXES[1] else keras.layers.Reshape((-1, 1))(value)


def _recurrent(layer: RecurrentLayer, *, whole: bool) -> keras.layers.Layer:
    """Return the layer; all but the last hand on the `whole` sequence."""
    cell = _CELLS[layer.cell](layer.units, return_sequences=whole)
    return keras.layers.Bidirectional(cell) if layer.bidirectional else cell


def build_attention(spec: AttentionSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[Head, ...]) -> keras.Model:
    """Apply a transformer encoder to token ids INT64 [-1, length]. Raises ArchitectureError if the input is something else."""
    tensor = the_input("attention", inputs)
    if not is_sequence_of_ids(tensor) or tensor.shape[1] == -1:
        raise ArchitectureError(
            f"architecture 'attention' needs token ids INT64 [-1, length] of a fixed length; the input is {described(tensor)}."
        )
    tokens = keras_input(tensor)
    value = keras.layers.Embedding(categories(tensor), spec.embedding)(tokens)
    value = PositionEmbedding()(value)
    present = keras.ops.not_equal(tokens, 0) if spec.mask_padding else None
    for _ in range(spec.blocks):
        value = _encoded(dropped(value, spec.dropout), present, spec)
    value = keras.layers.LayerNormalization()(value)
    mean = keras.layers.GlobalAveragePooling1D()(value, mask=present)
    return model([tokens], heads(hidden(dropped(mean, spec.dropout), spec.hidden), outputs))


def _encoded(value: Any, present: Any, spec: AttentionSpec) -> Any:  # noqa: ANN401
    """Apply one block, normalised before each part (Xiong et al., 2020), which needs no warm-up of the learning rate."""
    attention = keras.layers.MultiHeadAttention(spec.heads, spec.embedding // spec.heads)
    normal = keras.layers.LayerNormalization()(value)
    mask = None if present is None else keras.ops.expand_dims(present, 1)
    value = keras.layers.Add()([value, dropped(attention(normal, normal, attention_mask=mask), spec.dropout)])
    inner = keras.layers.Dense(spec.feed_forward, activation="gelu")(keras.layers.LayerNormalization()(value))
    return keras.layers.Add()([value, dropped(keras.layers.Dense(spec.embedding)(inner), spec.dropout)])


@keras.saving.register_keras_serializable(package="axon")
class PositionEmbedding(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Adds to each place of [batch, length, dimensions] a vector of its own, which is learned."""

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make the vectors."""
        self.positions = self.add_weight(shape=tuple(input_shape[1:]), initializer="random_normal", name="positions")
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:  # noqa: ANN401
        """Add them; the shape stays."""
        return inputs + self.positions
