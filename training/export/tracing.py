"""A program -> a frozen TensorFlow graph: no variables, no functions, and large weights as inputs instead of constants.

Converting a graph costs some 250 MB of memory and a second for every million parameters that are constants in it. Weights that
only feed a product or a look-up need not be: they are traced as inputs and put back, as they are, into the ONNX graph.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, Final

import keras
import msgspec
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from training.errors import ExportFailed
from training.export.program import Program, tensor_specs

# Below this many bytes in all the constants cost less than the detour; no single weight below the second is worth it.
_DETOUR_FROM: Final = 4_000_000
_SMALLEST: Final = 64_000


class Frozen(msgspec.Struct, frozen=True):
    """A TensorFlow GraphDef, its tensors ("name:0") in the order of the signature, and the weights left out, by tensor."""

    graph: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: dict[str, keras.Variable]


def freeze(program: Program, *, detour_from: int = _DETOUR_FROM) -> Frozen:
    """Trace the program at inference. Raises whatever the model's own code raises."""
    total = sum(_bytes(variable) for variable in program.weights)
    lifted = [variable for variable in program.weights if _bytes(variable) >= _SMALLEST] if total >= detour_from else []
    specs, names = tensor_specs(program.signature), [spec.name for spec in program.signature.inputs]
    wanted = [tf.TensorSpec(specs[name].shape, specs[name].dtype, name=f"input_{place}") for place, name in enumerate(names)]
    wanted += [tf.TensorSpec(weight.shape, weight.dtype, name=f"weight_{place}") for place, weight in enumerate(lifted)]

    def call(*tensors: Any) -> list[Any]:  # noqa: ANN401 -- TensorFlow is untyped
        values = dict(zip(names, tensors, strict=False))
        with keras.StatelessScope(list(zip(lifted, tensors[len(names) :], strict=True))):
            outputs = program.call(values)
        return [tf.identity(outputs[spec.name]) for spec in program.signature.outputs]

    with _inlined():
        traced = tf.function(call, input_signature=wanted, autograph=False).get_concrete_function()
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    inputs = [tensor.name for tensor in frozen.inputs]
    if len(inputs) != len(wanted):
        raise ExportFailed(
            "it holds lookup tables (StringLookup, IntegerLookup, TextVectorization), which a frozen graph cannot keep. "
            "Declare the columns under [features], where Axon builds these parts as ONNX operators."
        )
    return Frozen(
        graph=frozen.graph.as_graph_def(),
        inputs=tuple(inputs[: len(names)]),
        outputs=tuple(tensor.name for tensor in frozen.outputs),
        weights=dict(zip(inputs[len(names) :], lifted, strict=True)),
    )


@contextmanager
def _inlined() -> Iterator[None]:
    """Trace through the functions that Keras compiles inside its layers (grouped convolutions); tf2onnx cannot enter them."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def _bytes(variable: keras.Variable) -> int:
    size: int = tf.as_dtype(variable.dtype).size
    return int(prod(variable.shape)) * size
