from importlib.metadata import PackageNotFoundError

import pytest

from service.errors import ConfigurationError
from service.inference import providers
from service.inference.providers import CPU, CUDA, checked, resolve


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the providers of the installed onnxruntime, for a test to fill."""
    names: list[str] = []
    monkeypatch.setattr(providers.ort, "get_available_providers", lambda: names)
    return names


def test_auto_is_the_cpu_without_cuda(available: list[str]) -> None:
    available.append(CPU)

    assert resolve("auto") == (CPU,)


def test_auto_is_cuda_where_it_is(available: list[str]) -> None:
    available.extend([CUDA, CPU])

    assert resolve("auto") == (CUDA, CPU)


def test_cpu_can_be_asked_for_beside_cuda(available: list[str]) -> None:
    available.extend([CUDA, CPU])

    assert resolve(CPU) == (CPU,)


def test_provider_that_is_not_there_is_an_error(available: list[str]) -> None:
    available.append(CPU)

    with pytest.raises(ConfigurationError, match="Nonsense is not in the installed onnxruntime, which has CPUExecutionProvider"):
        resolve("Nonsense")


def test_missing_cuda_names_the_package_to_install(available: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnxruntime-gpu":
            raise PackageNotFoundError(name)
        return "1"

    available.append(CPU)
    monkeypatch.setattr(providers, "version", version)

    with pytest.raises(ConfigurationError, match=r"pip install onnxruntime-gpu$"):
        resolve(CUDA)


def test_packages_that_overwrite_each_other_are_named(available: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    available.append(CPU)
    monkeypatch.setattr(providers, "version", lambda _name: "1")

    with pytest.raises(ConfigurationError, match="are both installed and overwrite each other"):
        resolve(CUDA)


def test_silent_fallback_to_the_cpu_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="CUDAExecutionProvider was asked for, but onnxruntime uses CPUExecutionProvider"):
        checked((CUDA, CPU), (CPU,))


def test_wished_provider_in_use_is_accepted() -> None:
    checked((CUDA, CPU), (CUDA, CPU))
    checked((CPU,), (CPU,))
