import logging
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from service.errors import ConfigurationError
from service.inference import providers
from service.inference.provider_defaults import CPU, CUDA, OPENVINO, TENSORRT, with_defaults
from service.inference.providers import automatic, checked, resolve
from service.repository.runtime_configuration import Provider

AZURE = "AzureExecutionProvider"


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Give the providers of the installed onnxruntime, for a test to fill."""
    names: list[str] = []
    monkeypatch.setattr(providers.ort, "get_available_providers", lambda: names)
    automatic.cache_clear()
    yield names
    automatic.cache_clear()


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a session for `auto` end up with the given providers, or raise."""

    def end_with(*names: str) -> None:
        class Probe:
            def __init__(self, graph: bytes, *_options: Any, **_others: Any) -> None:
                ort.capi.onnxruntime_pybind11_state.InferenceSession(ort.SessionOptions(), graph, False, False)
                if not names:
                    raise RuntimeError("no device")

            def get_providers(self) -> tuple[str, ...]:
                return names

        monkeypatch.setattr(providers.ort, "InferenceSession", Probe)

    return end_with


def names_of(chosen: tuple[tuple[Provider, ...], tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(provider.name for provider in chosen[0])


def wish(*names: str) -> tuple[Provider, ...]:
    return tuple(Provider(name=name) for name in names)


def test_auto_is_the_cpu_without_cuda(available: list[str]) -> None:
    available.append(CPU)

    assert names_of(resolve(wish("auto"), "require")) == (CPU,)


def test_auto_is_cuda_where_it_works(available: list[str], works: Callable[..., None]) -> None:
    available.extend([CUDA, CPU])
    works(CUDA, CPU)

    assert names_of(resolve(wish("auto"), "require")) == (CUDA, CPU)


@pytest.mark.parametrize("found", [pytest.param((CPU,), id="a silent fallback"), pytest.param((), id="an exception")])
def test_auto_is_the_cpu_where_cuda_does_not_work(
    found: tuple[str, ...], available: list[str], works: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    available.extend([CUDA, CPU])
    works(*found)

    assert names_of(resolve(wish("auto"), "require")) == (CPU,)
    assert "its libraries or its device are missing here" in caplog.text


def test_auto_is_decided_once_and_logged(available: list[str], caplog: pytest.LogCaptureFixture) -> None:
    available.append(CPU)

    with caplog.at_level(logging.INFO):
        resolve(wish("auto"), "require")
        resolve(wish("auto"), "require")

    assert [record.message for record in caplog.records] == [
        "execution provider auto is CPUExecutionProvider: the installed onnxruntime has no CUDA"
    ]


def test_graph_of_the_probe_can_be_run() -> None:
    session = ort.InferenceSession(providers._PROBE, providers=[CPU])

    assert session.get_inputs()[0].name == "x"


def test_cpu_can_be_asked_for_beside_cuda(available: list[str]) -> None:
    available.extend([CUDA, CPU])

    assert names_of(resolve(wish(CPU), "require")) == (CPU,)


def test_providers_keep_their_order_and_their_options(available: list[str]) -> None:
    available.extend([CUDA, TENSORRT, CPU])
    asked = (Provider(name=TENSORRT, options={"trt_fp16_enable": True}), Provider(name=CUDA))

    assert resolve(asked, "require") == ((*asked, Provider(name=CPU)), ())


def test_provider_that_is_not_there_is_an_error(available: list[str]) -> None:
    available.append(CPU)

    with pytest.raises(ConfigurationError, match="Nonsense is not in the installed onnxruntime, which has CPUExecutionProvider"):
        resolve(wish("Nonsense"), "require")


def test_provider_that_is_only_preferred_is_left_out_with_the_reason(available: list[str]) -> None:
    available.extend([CUDA, CPU])

    chosen, problems = resolve(wish("Nonsense", CUDA), "prefer")

    assert [provider.name for provider in chosen] == [CUDA, CPU]
    assert "Nonsense is not in the installed onnxruntime" in problems[0]


def test_missing_cuda_names_the_package_to_install(available: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnxruntime-gpu":
            raise PackageNotFoundError(name)
        return "1"

    available.append(CPU)
    monkeypatch.setattr(providers, "version", version)

    with pytest.raises(ConfigurationError, match=r"pip install onnxruntime-gpu$"):
        resolve(wish(CUDA), "require")


def test_packages_that_overwrite_each_other_are_named(available: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    available.append(CPU)
    monkeypatch.setattr(providers, "version", lambda _name: "1")

    with pytest.raises(ConfigurationError, match="are both installed and overwrite each other"):
        resolve(wish(CUDA), "require")


def test_silent_fallback_to_the_cpu_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="CUDAExecutionProvider was asked for, but onnxruntime uses CPUExecutionProvider"):
        checked((CUDA, CPU), (CPU,), {CPU: 3})


def test_provider_that_took_no_node_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="took none of the 3 nodes of the graph: 3 on CPUExecutionProvider"):
        checked((CUDA, CPU), (CUDA, CPU), {CPU: 3})


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param({CUDA: 3}, id="all nodes"),
        pytest.param({CUDA: 1, CPU: 2}, id="some nodes"),
        pytest.param({}, id="a graph without nodes"),
    ],
)
def test_wished_provider_in_use_is_accepted(nodes: dict[str, int]) -> None:
    checked((CUDA, CPU), (CUDA, CPU), nodes)


def test_cuda_has_defaults_for_serving() -> None:
    assert with_defaults(Provider(name=CUDA), cache_directory=None, threads=1) == {
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }


def test_options_of_the_model_come_before_the_defaults() -> None:
    provider = Provider(name=CUDA, options={"cudnn_conv_algo_search": "DEFAULT", "gpu_mem_limit": 2**30, "do_copy": False})

    assert with_defaults(provider, cache_directory=None, threads=1) == {
        "cudnn_conv_algo_search": "DEFAULT",
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": "1073741824",
        "do_copy": "False",
    }


def test_tensorrt_keeps_its_engines_and_timings(tmp_path: Path) -> None:
    directory = str(tmp_path / TENSORRT)

    assert with_defaults(Provider(name=TENSORRT), cache_directory=tmp_path, threads=1) == {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": directory,
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": directory,
    }


def test_tensorrt_keeps_nothing_without_a_cache_directory() -> None:
    assert with_defaults(Provider(name=TENSORRT), cache_directory=None, threads=1) == {}


def test_openvino_gets_the_threads_of_the_plan_and_keeps_its_kernels(tmp_path: Path) -> None:
    options = with_defaults(Provider(name=OPENVINO, options={"device_type": "GPU"}), cache_directory=tmp_path, threads=3)

    assert options == {"num_of_threads": "3", "cache_dir": str(tmp_path / OPENVINO), "device_type": "GPU"}


def test_any_other_provider_gets_its_own_options_only() -> None:
    provider = Provider(name="CoreMLExecutionProvider", options={"ModelFormat": "MLProgram"})

    assert with_defaults(provider, cache_directory=None, threads=1) == {"ModelFormat": "MLProgram"}
