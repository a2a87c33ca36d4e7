"""The options that an execution provider gets unless model.toml says otherwise, and what serving must know of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from service.repository.runtime_configuration import Provider

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
OPENVINO: Final = "OpenVINOExecutionProvider"

# Where a provider keeps tensors, by onnxruntime's name for the kind of device: its inputs and outputs are bound there.
DEVICES: Final[Mapping[str, str]] = {CUDA: "cuda", TENSORRT: "cuda", "NvTensorRTRTXExecutionProvider": "cuda"}

# For these providers an optimised graph is kept. Those that compile put code into it that onnxruntime cannot save; they have caches
# of their own, below.
CACHEABLE: Final = frozenset({CPU})

# HEURISTIC: an exhaustive search for a convolution's algorithm costs seconds for every new shape, and each batch size is one.
# kSameAsRequested: the other strategy doubles the arena, which never gives memory back, and other models want the device too.
_CUDA: Final = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}


def with_defaults(provider: Provider, *, cache_directory: Path | None, threads: int) -> dict[str, str]:
    """Return the options of a provider as onnxruntime reads them, those of model.toml before the defaults.

    Engines that a provider compiles are kept in `cache_directory`, if there is one.
    """
    kept = str(cache_directory / provider.name) if cache_directory is not None else None
    defaults: dict[str, str] = {}
    if provider.name == CUDA:
        defaults = dict(_CUDA)
    elif provider.name == TENSORRT and kept is not None:
        defaults = {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": kept,
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": kept,
        }
    elif provider.name == OPENVINO:
        defaults = {"num_of_threads": str(threads)}
        if kept is not None:
            defaults["cache_dir"] = kept
    return defaults | provider.texts


def device_number(options: Mapping[str, str]) -> int:
    """Return which device of its kind a provider with these options uses."""
    number = options.get("device_id", "0")
    return int(number) if number.isdecimal() else 0
