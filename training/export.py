"""A Keras model -> `model.onnx`, with the signature's names, a dynamic batch axis and the wanted operator set.

tf2onnx returns a broken graph without raising when it meets an operation it does not know, so nothing it returns is believed:
its logged errors are raised, and names, types and structure are compared with the signature. Numbers are parity.py's.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import keras
import onnx
import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from service.repository.datatypes import from_numpy
from service.repository.signature import Signature, TensorSpec
from training.errors import ExportFailed
from training.onnx_operators import HANDLERS

BATCH_AXIS: Final = "batch"


def export(model: keras.Model, signature: Signature, path: Path, *, opset: int) -> None:
    """Write `model` to `path`. Raises ExportFailed, naming the operation, if it has no ONNX form or is not `signature`."""
    graph = _converted(_frozen(model, signature), signature, opset)
    for tensor in (*graph.graph.input, *graph.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
    _check(graph, signature, opset)
    onnx.save_model(graph, path)


def _frozen(model: keras.Model, signature: Signature) -> Any:  # noqa: ANN401 -- TensorFlow is untyped
    """Trace the model at inference and turn its variables into constants."""
    wanted = [
        tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=spec.name)
        for tensor, spec in zip(model.inputs, signature.inputs, strict=True)
    ]

    def call(*inputs: Any) -> list[Any]:  # noqa: ANN401
        outputs = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
        return [tf.identity(output) for output in tf.nest.flatten(outputs)]

    with _inlined():
        traced = tf.function(call, input_signature=wanted, autograph=False).get_concrete_function()
    return convert_variables_to_constants_v2(traced, lower_control_flow=False)


@contextmanager
def _inlined() -> Iterator[None]:
    """Trace through the functions that Keras compiles inside its layers (grouped convolutions); tf2onnx cannot enter them."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def _converted(frozen: Any, signature: Signature, opset: int) -> onnx.ModelProto:  # noqa: ANN401
    inputs, outputs = [tensor.name for tensor in frozen.inputs], [tensor.name for tensor in frozen.outputs]
    names = [spec.name for spec in (*signature.inputs, *signature.outputs)]
    with _logged_errors() as errors:
        try:
            graph, _ = tf2onnx.convert.from_graph_def(
                frozen.graph.as_graph_def(),
                input_names=inputs,
                output_names=outputs,
                opset=opset,
                custom_op_handlers=HANDLERS,
                tensors_to_rename=dict(zip((*inputs, *outputs), names, strict=True)),
            )
        except Exception as error:  # tf2onnx raises whatever its many converters raise
            raise ExportFailed("; ".join(errors) or f"{type(error).__name__}: {error}") from error
    if errors:
        raise ExportFailed("; ".join(dict.fromkeys(errors)) + ". Replace the layer that uses it.")
    return graph


class _Collector(logging.Handler):
    """Keeps the text of every error logged."""

    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first line of the message."""
        self.errors.append(record.getMessage().partition("\n")[0])


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Collect what tf2onnx logs as errors, the only place where it names an operation it does not know.

    TensorFlow's own log says meanwhile only that tf2onnx calls deprecated functions; it is set to errors too.
    """
    collector = _Collector()
    loggers = [logging.getLogger("tf2onnx"), logging.getLogger("tensorflow")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    loggers[0].addHandler(collector)
    loggers[0].propagate = False
    try:
        yield collector.errors
    finally:
        loggers[0].removeHandler(collector)
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate = propagate


def _check(model: onnx.ModelProto, signature: Signature, opset: int) -> None:
    """Raise ExportFailed unless the graph is valid ONNX and has exactly the signature's tensors and opset."""
    for kind, specs, tensors in (
        ("input", signature.inputs, model.graph.input),
        ("output", signature.outputs, model.graph.output),
    ):
        declared, actual = [_described(spec) for spec in specs], [_found(tensor) for tensor in tensors]
        if declared != actual:
            raise ExportFailed(f"the graph has the {kind}s {', '.join(actual)}; expected {', '.join(declared)}.")
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written.get("") != opset:
        raise ExportFailed(f"the graph has opset {written.get('')}; expected {opset}.")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportFailed(f"the graph is not valid ONNX: {error}") from error


def _described(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.datatype} {[BATCH_AXIS, *spec.shape[1:]]}"


def _found(tensor: onnx.ValueInfoProto) -> str:
    kind = tensor.type.tensor_type
    datatype = from_numpy(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return f"{tensor.name} {datatype} {[axis.dim_param or axis.dim_value for axis in kind.shape.dim]}"
