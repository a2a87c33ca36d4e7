"""Which execution provider of the installed onnxruntime runs the models."""

from importlib.metadata import PackageNotFoundError, version

import onnxruntime as ort

from service.errors import ConfigurationError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
AUTO = "auto"


def resolve(wish: str) -> tuple[str, ...]:
    """Return the providers to ask onnxruntime for, the wished one first and the CPU for what it does not run.

    `auto` is CUDA where the installed onnxruntime has it, else the CPU. Raises ConfigurationError if the wish is not there.
    """
    available = ort.get_available_providers()
    if wish == AUTO:
        wish = CUDA if CUDA in available else CPU
    if wish not in available:
        raise ConfigurationError(
            f"The execution provider {wish} is not in the installed onnxruntime, which has {', '.join(available)}.{_advice(wish)}"
        )
    return (wish,) if wish == CPU else (wish, CPU)


def checked(wanted: tuple[str, ...], actual: tuple[str, ...]) -> None:
    """Raise ConfigurationError if onnxruntime fell back from the wished provider to another one without a word."""
    if actual[:1] != wanted[:1]:
        raise ConfigurationError(
            f"The execution provider {wanted[0]} was asked for, but onnxruntime uses {actual[0]}: its libraries or its device are "
            "missing on this machine. Install what it needs, or choose another provider."
        )


def _advice(wish: str) -> str:
    if wish == CUDA and _installed("onnxruntime") and _installed("onnxruntime-gpu"):
        return (
            " The packages onnxruntime and onnxruntime-gpu are both installed and overwrite each other. Repair with: "
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        )
    return " The GPU build is another package: pip uninstall -y onnxruntime && pip install onnxruntime-gpu" if wish == CUDA else ""


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
