"""An ONNX graph loaded into onnxruntime: its signature, and `run`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from service.errors import ModelLoadError
from service.repository.datatypes import Datatype
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]

_DATATYPES: Final[dict[str, Datatype]] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class Session:
    """One onnxruntime session. `run` may be called from any thread; it releases the GIL while the graph runs.

    `threads` work on one run together. They do not spin when idle: the cores are shared with the event loop and other models.
    Raises ModelLoadError if onnxruntime refuses the graph or a tensor type has no name in the protocol.
    """

    def __init__(self, graph: Path, *, threads: int, providers: Sequence[str]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # errors reach the caller as exceptions; the log of the service is one line an event
        try:
            self._session = ort.InferenceSession(graph, sess_options=options, providers=list(providers))
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelLoadError(f"onnxruntime cannot load {graph}: {_reason(error)}") from error
        self.signature = _signature(self._session, graph)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self.shares_batch_axis = _shares_first_axis(self._session.get_inputs())
        self._input_names = [spec.name for spec in self.signature.inputs]
        self._output_names = [spec.name for spec in self.signature.outputs]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run the graph on one array per input, in the order of the signature; give one array per output.

        Raises RuntimeError with onnxruntime's reason, in one line.
        """
        try:
            outputs: list[Array] = self._session.run(self._output_names, dict(zip(self._input_names, inputs, strict=True)))
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise RuntimeError(_reason(error)) from error
        return outputs


def _reason(error: Exception) -> str:
    """Return onnxruntime's message in one line: no error class, no path of its source files, no full stop."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", text)
    return re.sub(r"/\S*/onnxruntime/\S+:\d+ [^(]*\([^)]*\) ", "", text).rstrip(".")


def _signature(session: ort.InferenceSession, graph: Path) -> Signature:
    return Signature(
        inputs=tuple(_spec(argument, graph) for argument in session.get_inputs()),
        outputs=tuple(_spec(argument, graph) for argument in session.get_outputs()),
    )


def _shares_first_axis(inputs: Sequence[ort.NodeArg]) -> bool:
    """Whether nothing says that the first axes of the inputs differ: axes that must be equal have the same symbol."""
    return len({argument.shape[0] for argument in inputs if argument.shape and argument.shape[0] is not None}) <= 1


def _spec(argument: ort.NodeArg, graph: Path) -> TensorSpec:
    if argument.type not in _DATATYPES:
        raise ModelLoadError(f"Tensor '{argument.name}' of {graph} has type {argument.type}, which cannot be served.")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)
    return TensorSpec(name=argument.name, datatype=_DATATYPES[argument.type], shape=shape)
