"""A frozen TensorFlow graph -> ONNX by tf2onnx, here or in a process of its own.

tf2onnx returns a broken graph without raising when it meets an operation it does not know: its logged errors are raised.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import onnx
import tf2onnx

from training.errors import ExportFailed
from training.onnx_operators import HANDLERS

# What a TensorFlow operation without an ONNX form comes from, and what to use instead.
_REMEDIES: Final = {
    "Bitcast": "keras.ops.argmax and argmin: give the scores out and take the largest outside the model, or use tf.argmax",
    "Lookup": "StringLookup and IntegerLookup: declare the vocabulary under [features]",
    "RFFT": "spectrograms: compute them before the model",
    "ScaleAndTranslate": "Resizing with lanczos or bicubic: use interpolation = 'bilinear' or 'nearest'",
    "StaticRegexReplace": "TextVectorization: declare the text column under [features], or feed token ids",
    "StringSplit": "TextVectorization: declare the text column under [features], or feed token ids",
    "StringToHashBucket": "Hashing: declare the column with hashing under [features]",
    "RandomUniform": "randomness at inference: let the layer follow `training`",
    "XlaCallModule": "a SavedModel written by JAX: save it as .keras and export that",
}
_OTHERWISE: Final = "Replace the layer that uses it."


class Job(msgspec.Struct, frozen=True):
    """What is to be converted besides the graph: tensors ("name:0") and the names that they get."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    names: dict[str, str]
    opset: int


def convert(graph: Any, job: Job) -> onnx.ModelProto:  # noqa: ANN401 -- TensorFlow is untyped
    """Convert a GraphDef in this process. Raises ExportFailed, naming the operation that has no ONNX form and the remedy."""
    with _logged_errors() as errors:
        try:
            model, _ = tf2onnx.convert.from_graph_def(
                graph,
                input_names=list(job.inputs),
                output_names=list(job.outputs),
                opset=job.opset,
                custom_op_handlers=HANDLERS,
                tensors_to_rename=job.names,
            )
        except Exception as error:  # tf2onnx raises whatever its many converters raise
            raise _failed(errors or [f"{type(error).__name__}: {error}"]) from error
    if errors:
        raise _failed(errors)
    return model


def _failed(errors: list[str]) -> ExportFailed:
    told = "; ".join(dict.fromkeys(errors))
    remedies = [remedy for operation, remedy in _REMEDIES.items() if operation in told]
    return ExportFailed(f"{told}. {f'This comes from {remedies[0]}.' if remedies else _OTHERWISE}")


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
