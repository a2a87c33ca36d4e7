"""What is exported: a function from named tensors to named tensors, made from any Keras model and at inference."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import keras
import msgspec
import numpy as np
import tensorflow as tf

from service.repository.datatypes import Datatype, to_numpy
from service.repository.signature import Signature
from training.errors import ExportFailed
from training.export.reasons import reason_of
from training.export.structure import input_names, input_structure, output_names

Array = np.ndarray[Any, Any]
Call = Callable[[Mapping[str, Any]], Mapping[str, Any]]

# Layers whose weights only feed a product or a look-up: the graph can be converted without the values.
_PLAIN_WEIGHTS: Final = ("Dense", "EinsumDense", "Embedding", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2D", "SeparableConv2D")


class Program(msgspec.Struct, frozen=True):
    """`call` maps TensorFlow tensors by input name to tensors by output name, as `signature` declares them.

    `weights` are those variables that may be left out of the graph while it is converted.
    """

    signature: Signature
    call: Call
    weights: tuple[keras.Variable, ...] = ()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute the outputs of a batch in TensorFlow: the reference for the ONNX graph.

        Raises ExportFailed if the model itself cannot compute these rows.
        """
        tensors = {
            spec.name: tf.constant(inputs[spec.name], dtype=tensorflow_type(spec.datatype)) for spec in self.signature.inputs
        }
        try:
            return {name: np.asarray(value) for name, value in self.call(tensors).items()}
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise ExportFailed(f"the model itself cannot compute the rows of the proof: {reason_of(error)}.") from error


def tensor_specs(signature: Signature) -> dict[str, Any]:
    """Return the TensorFlow types of the inputs, with a free batch axis."""
    return {
        spec.name: tf.TensorSpec([None if size == -1 else size for size in spec.shape], tensorflow_type(spec.datatype))
        for spec in signature.inputs
    }


def tensorflow_type(datatype: Datatype) -> Any:  # noqa: ANN401 -- TensorFlow is untyped
    """Return the TensorFlow type that holds `datatype`."""
    return tf.string if datatype == "BYTES" else tf.as_dtype(to_numpy(datatype))


def program_of(model: keras.Model, signature: Signature) -> Program:
    """Return the model as a program with the names of `signature`.

    Tensors are matched by name; where the names differ, by position. Raises ExportFailed if there are more or fewer of them.
    """
    structure = input_structure(model)
    inputs = _matched("input", [spec.name for spec in signature.inputs], input_names(model))
    declared = [spec.name for spec in signature.outputs]

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        values = keras.tree.pack_sequence_as(structure, [tensors[name] for name in inputs])
        with full_precision(model):
            results = model(values, training=False)
        found = keras.tree.flatten(results)
        return dict(zip(_matched("output", declared, output_names(model, results)), found, strict=True))

    return Program(signature, call, tuple(_plain_weights(model)))


def _matched(kind: str, declared: list[str], found: list[str]) -> list[str]:
    """Return the declared name of each tensor of the model, in the model's order."""
    if len(declared) != len(found):
        raise ExportFailed(f"the model has the {kind}s {', '.join(found)}; expected {', '.join(declared)}.")
    return found if set(declared) == set(found) else declared


@contextmanager
def full_precision(model: keras.Model) -> Iterator[None]:
    """Compute in the weights' own precision: a mixed_float16 model is exported, and compared, in float32."""
    mixed = [
        (layer, layer.dtype_policy)
        for layer in model._flatten_layers()  # noqa: SLF001 -- Keras has no public way to all inner layers
        if layer.dtype_policy.compute_dtype != layer.dtype_policy.variable_dtype and layer.quantization_mode is None
    ]
    for layer, policy in mixed:
        layer.dtype_policy = policy.variable_dtype
    try:
        yield
    finally:
        for layer, policy in mixed:
            layer.dtype_policy = policy


def _plain_weights(model: keras.Model) -> Iterator[keras.Variable]:
    seen: set[int] = set()
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001
        if type(layer).__name__ in _PLAIN_WEIGHTS and type(layer).__module__.startswith("keras."):
            for variable in layer.variables:
                if id(variable) not in seen:
                    seen.add(id(variable))
                    yield variable
