"""Wide and deep: a linear model of a table beside a deep one."""

from math import prod
from typing import Any, Final

import keras

from service.repository.signature import TensorSpec
from training.architectures.blocks import hidden
from training.architectures.inputs import categories, is_category, is_sequence_of_ids, keras_input, scaled
from training.architectures.outputs import Head, model, shaped
from training.spec.architecture import WideAndDeepSpec

_LARGEST_EMBEDDING: Final = 50


def build_wide_and_deep(spec: WideAndDeepSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[Head, ...]) -> keras.Model:
    """Give each output the sum of a linear model and a deep one. Categories are INT64 [-1], bags of tokens INT64 [-1, length]."""
    values = [keras_input(tensor) for tensor in inputs]
    pairs = list(zip(values, inputs, strict=True))
    deep = hidden(_joined([_deep(value, tensor, spec) for value, tensor in pairs]), spec.hidden)
    return model(values, [_output(pairs, deep, output) for output in outputs])


def _output(pairs: list[tuple[Any, TensorSpec]], deep: Any, output: Head) -> Any:  # noqa: ANN401
    size = prod(output.sizes)
    numbers = [keras.layers.Flatten()(scaled(value, tensor)) for value, tensor in pairs if not _has_ids(tensor)]
    parts = [keras.layers.Dense(size)(deep)]
    parts += [keras.layers.Dense(size, use_bias=False)(_joined(numbers))] if numbers else []
    parts += [_embedded(value, tensor, size, "zeros") for value, tensor in pairs if _has_ids(tensor)]
    return shaped(_sum(parts), output)


def _deep(value: Any, tensor: TensorSpec, spec: WideAndDeepSpec) -> Any:  # noqa: ANN401
    if not _has_ids(tensor):
        return keras.layers.Flatten()(scaled(value, tensor))
    size = spec.embedding or min(_LARGEST_EMBEDDING, (categories(tensor) + 1) // 2)
    return _embedded(value, tensor, size, "uniform")


def _embedded(value: Any, tensor: TensorSpec, size: int, initializer: str) -> Any:  # noqa: ANN401
    """Return [batch, size]: the category's vector, or the mean of the tokens'."""
    vectors = keras.layers.Embedding(categories(tensor), size, embeddings_initializer=initializer)(value)
    return keras.layers.GlobalAveragePooling1D()(vectors) if is_sequence_of_ids(tensor) else vectors


def _has_ids(tensor: TensorSpec) -> bool:
    return is_category(tensor) or is_sequence_of_ids(tensor)


def _joined(values: list[Any]) -> Any:  # noqa: ANN401
    return values[0] if len(values) == 1 else keras.layers.Concatenate()(values)


def _sum(values: list[Any]) -> Any:  # noqa: ANN401
    return values[0] if len(values) == 1 else keras.layers.Add()(values)
