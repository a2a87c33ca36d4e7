"""An ONNX graph loaded into onnxruntime: its signature, where its nodes run, and `run`."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from service.errors import ModelLoadError
from service.inference.device import DeviceRunner
from service.inference.provider_defaults import CPU, DEVICES, device_number
from service.repository.datatypes import Datatype
from service.repository.runtime_configuration import Optimization, SessionTuning
from service.repository.signature import Signature, TensorSpec

logger = logging.getLogger("axon.session")

Array = np.ndarray[Any, Any]
ProviderOptions = tuple[str, Mapping[str, str]]

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
_LEVELS: Final[Mapping[Optimization, ort.GraphOptimizationLevel]] = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "layout": ort.GraphOptimizationLevel.ORT_ENABLE_LAYOUT,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
DEFAULT_TUNING: Final = SessionTuning()


class Session:
    """One onnxruntime session. `run` releases the GIL while the graph runs.

    `threads` work on one run together. They do not spin when idle: the cores are shared with the event loop and other models.
    `providers` are names, or names with options. If `optimized_path` is given, the graph is written there as onnxruntime has
    rewritten it. Raises ModelLoadError if onnxruntime refuses the graph, or if tensors have types that cannot be served.

    `nodes` is how many nodes of the graph each provider runs. `concurrent` says that `run` may be called from several threads at
    once; on a device it is one call at a time.
    """

    def __init__(
        self,
        graph: Path,
        *,
        threads: int,
        providers: Sequence[str | ProviderOptions],
        tuning: SessionTuning = DEFAULT_TUNING,
        optimized_path: Path | None = None,
    ) -> None:
        wanted = [(each, {}) if isinstance(each, str) else (each[0], dict(each[1])) for each in providers]
        options = _options(threads, tuning)
        if optimized_path is not None:
            options.optimized_model_filepath = str(optimized_path)
        try:
            # Without enable_fallback=0 onnxruntime would go on with the CPU where a provider fails, then or in a later run.
            self._session = ort.InferenceSession(graph, sess_options=options, providers=wanted, enable_fallback=0)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelLoadError(f"onnxruntime cannot load {graph}: {_reason(error)}") from error
        self.signature = _signature(self._session, graph)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self.nodes = _nodes(self._session)
        self.shares_batch_axis = _shares_first_axis(self._session.get_inputs())
        self._input_names = [spec.name for spec in self.signature.inputs]
        self._output_names = [spec.name for spec in self.signature.outputs]
        runner = self._device_runner(wanted)
        self.concurrent = runner is None
        self._run = self._session.run if runner is None else runner.run
        self._run_options = _run_options(wanted, on_device=runner is not None) if tuning.arena_shrinkage else None

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run the graph on one array per input, in the order of the signature; give one array per output.

        Raises RuntimeError with onnxruntime's reason, in one line.
        """
        try:
            feed = dict(zip(self._input_names, inputs, strict=True))
            outputs: list[Array] = self._run(self._output_names, feed, self._run_options)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise RuntimeError(_reason(error)) from error
        return outputs

    def _device_runner(self, wanted: Sequence[tuple[str, Mapping[str, str]]]) -> DeviceRunner | None:
        """Bind tensors to the device of the first provider, if it has one and takes part; text stays with the CPU."""
        name, options = wanted[0] if wanted else (CPU, {})
        tensors = (*self.signature.inputs, *self.signature.outputs)
        if name not in DEVICES or name not in self.nodes or any(spec.datatype == "BYTES" for spec in tensors):
            return None
        return DeviceRunner(self._session, provider=name, device=DEVICES[name], number=device_number(options))


def _options(threads: int, tuning: SessionTuning) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.log_severity_level = 4  # errors reach the caller as exceptions; the log of the service is one line an event
    options.graph_optimization_level = _LEVELS[tuning.graph_optimization]
    options.enable_cpu_mem_arena = tuning.memory_arena
    return options


def _run_options(wanted: Sequence[tuple[str, Mapping[str, str]]], *, on_device: bool) -> ort.RunOptions:
    """Let the arenas give back what a run has left unused."""
    options = ort.RunOptions()
    arenas = f"cpu:0;gpu:{device_number(wanted[0][1])}" if on_device else "cpu:0"
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arenas)
    return options


def _nodes(session: ort.InferenceSession) -> dict[str, int]:
    """Count the nodes of each provider, as onnxruntime has shared them out."""
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return counts


def _reason(error: Exception) -> str:
    """Return onnxruntime's message in one line: no error class, no path of its source files, no full stop."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", text)
    return re.sub(r"/\S*/onnxruntime/\S+:\d+ [^(]*\([^)]*\) ", "", text).rstrip(".")


def _signature(session: ort.InferenceSession, graph: Path) -> Signature:
    """Read the tensors. Inputs that may be left out and outputs that are no tensors are left out, and the log says so."""
    inputs = [each for each in session.get_inputs() if not each.type.startswith("optional")]
    outputs = [each for each in session.get_outputs() if each.type.startswith("tensor")]
    left_out = [each for each in (*session.get_inputs(), *session.get_outputs()) if each not in (*inputs, *outputs)]
    if not outputs:
        raise ModelLoadError(f"No output of {graph} is a tensor: {_described(left_out)}. {_ADVICE}")
    if left_out:
        logger.warning("%s is served without %s, which cannot be sent. %s", graph, _described(left_out), _ADVICE)
    return Signature(inputs=tuple(_spec(each, graph) for each in inputs), outputs=tuple(_spec(each, graph) for each in outputs))


_ADVICE = "For probabilities as a tensor, convert scikit-learn models with options={id(model): {'zipmap': False}}."


def _described(arguments: Sequence[ort.NodeArg]) -> str:
    return ", ".join(f"'{argument.name}' ({argument.type})" for argument in arguments)


def _shares_first_axis(inputs: Sequence[ort.NodeArg]) -> bool:
    """Whether nothing says that the first axes of the inputs differ: axes that must be equal have the same symbol."""
    return len({argument.shape[0] for argument in inputs if argument.shape and argument.shape[0] is not None}) <= 1


def _spec(argument: ort.NodeArg, graph: Path) -> TensorSpec:
    if argument.type not in _DATATYPES:
        raise ModelLoadError(
            f"Tensor '{argument.name}' of {graph} has type {argument.type}, which cannot be served; served are "
            f"{', '.join(_DATATYPES)}. Cast it in the graph, tensor(bfloat16) to tensor(float) for example."
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)
    return TensorSpec(name=argument.name, datatype=_DATATYPES[argument.type], shape=shape)
