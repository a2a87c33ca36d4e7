"""Which execution providers of the installed onnxruntime run a model, and whether they really do."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from typing import Final

import onnxruntime as ort

from service.errors import ConfigurationError
from service.inference.provider_defaults import CPU, CUDA, DEVICES
from service.repository.runtime_configuration import Policy, Provider

logger = logging.getLogger("axon.providers")

AUTO: Final = "auto"
_LIBRARIES: Final = " pip install 'onnxruntime-gpu[cuda,cudnn]' brings the libraries, the driver comes with the system."
# An ONNX model of one node, y = x + x for one number: whether a provider's libraries and device are there shows when it is loaded.
_PROBE: Final = bytes.fromhex(
    "080a3a350a0e0a01780a017812017922034164641201705a0f0a0178120a0a08080112040a020801620f0a0179120a0a08080112040a02080142040a001012"
)


def require_available(name: str) -> None:
    """Raise ConfigurationError if the installed onnxruntime has no such provider. Touches no device."""
    available = ort.get_available_providers()
    if name != AUTO and name not in available:
        raise ConfigurationError(
            f"The execution provider {name} is not in the installed onnxruntime, which has {', '.join(available)}.{_advice(name)}"
        )


def resolve(wishes: Sequence[Provider], policy: Policy) -> tuple[tuple[Provider, ...], tuple[str, ...]]:
    """Return the providers to ask onnxruntime for, and why others are not among them.

    The first choice comes first, the CPU last for what the others do not run. `auto` is CUDA where it works, else the CPU. A
    provider that the installed onnxruntime does not have raises ConfigurationError unless the policy is `prefer`.
    """
    chosen: list[Provider] = []
    problems: list[str] = []
    for wish in wishes:
        provider = Provider(name=automatic()) if wish.name == AUTO else wish
        try:
            require_available(provider.name)
            if provider.name in DEVICES:
                _load_libraries()
            chosen.append(provider)
        except ConfigurationError as error:
            if policy == "require":
                raise
            problems.append(str(error))
    if not any(provider.name == CPU for provider in chosen):
        chosen.append(Provider(name=CPU))
    return tuple(chosen), tuple(problems)


def checked(wanted: Sequence[str], actual: Sequence[str], nodes: Mapping[str, int]) -> None:
    """Raise ConfigurationError if onnxruntime left out a wished provider without a word, or gave the first one nothing to run.

    `nodes` is how many nodes of the graph each provider took.
    """
    for name in wanted:
        if name != CPU and name not in actual:
            brought = _LIBRARIES if name in DEVICES else ""
            raise ConfigurationError(
                f"The execution provider {name} was asked for, but onnxruntime uses {', '.join(actual)}: its libraries or its "
                f"device are missing on this machine.{brought} Choose another, or set provider_policy = 'prefer'."
            )
    total = sum(nodes.values())
    if total and not nodes.get(wanted[0]):
        raise ConfigurationError(
            f"The execution provider {wanted[0]} was asked for, but took none of the {total} nodes of the graph: "
            f"{described(nodes)}. Choose another provider, or set provider_policy = 'prefer'."
        )


def described(nodes: Mapping[str, int]) -> str:
    """Say how many nodes each provider has."""
    return ", ".join(f"{count} on {name}" for name, count in nodes.items()) or "no nodes"


def runtime() -> str:
    """Return which onnxruntime is installed, to the very build."""
    return f"{ort.__version__} {ort.get_build_info()}"


@cache
def automatic() -> str:
    """Return CUDA if this onnxruntime has it and it works on this machine, else the CPU. Decided once, and logged."""
    if CUDA not in ort.get_available_providers():
        logger.info("execution provider auto is %s: the installed onnxruntime has no CUDA", CPU)
        return CPU
    _load_libraries()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        works = CUDA in ort.InferenceSession(_PROBE, options, providers=[CUDA, CPU], enable_fallback=0).get_providers()
    except Exception:  # noqa: BLE001 -- onnxruntime's exceptions have no common base; whatever it is, CUDA does not work
        works = False
    if works:
        logger.info("execution provider auto is %s", CUDA)
        return CUDA
    logger.warning("execution provider auto is %s: onnxruntime has CUDA, but its libraries or its device are missing here", CPU)
    return CPU


@cache
def _load_libraries() -> None:
    """Load the CUDA and cuDNN libraries that pip has installed, which the system's loader does not find by itself."""
    with redirect_stdout(StringIO()):  # it prints what it misses; what matters is whether the provider works afterwards
        ort.preload_dlls()


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
