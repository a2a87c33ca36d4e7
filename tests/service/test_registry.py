"""Which version a request means, and what is said when there is none."""

from types import SimpleNamespace
from typing import Any

import pytest

from service.errors import ModelNotFound, ModelNotReady, ModelUnloaded, VersionNotFound
from service.registry import Registry, State, VersionStatus


@pytest.fixture
def registry() -> Registry:
    """Give a registry in which version 1 of `m` serves and version 2 loads."""
    known = Registry()
    served: Any = SimpleNamespace(name="m", version=1)
    known.admit(served)
    known.set_status(VersionStatus("m", State.READY, "1"))
    known.set_status(VersionStatus("m", State.LOADING, "2"))
    known.set_complete(complete=True)
    return known


@pytest.mark.parametrize("version", [None, "1", "0001"])
def test_version_that_serves_is_found(version: str | None, registry: Registry) -> None:
    assert registry.get("m", version).version == 1


@pytest.mark.parametrize("version", ["2", "002"])
def test_version_that_loads_will_come(version: str, registry: Registry) -> None:
    with pytest.raises(ModelNotReady, match="Model 'm' version 2 is not ready, its state is LOADING") as raised:
        registry.get("m", version)

    assert raised.value.status == 503
    assert raised.value.headers == {"retry-after": "1"}


@pytest.mark.parametrize("version", ["3", "0", "-1", "latest", "", "٣", "9" * 30])
def test_other_versions_are_unknown(version: str, registry: Registry) -> None:
    with pytest.raises(VersionNotFound):
        registry.get("m", version)


def test_model_that_was_unloaded_is_as_if_unknown_until_it_serves_again(registry: Registry) -> None:
    served = registry.withdraw("m", 1)
    registry.set_unloaded("m")

    with pytest.raises(ModelUnloaded, match="POST /v2/repository/models/m/load"):
        registry.get("m")
    assert registry.ready
    registry.admit(served)
    assert registry.get("m") is served


def test_model_that_went_by_itself_is_not_ready(registry: Registry) -> None:
    registry.withdraw("m", 1)

    with pytest.raises(ModelNotReady):
        registry.get("m")
    assert not registry.ready


def test_unknown_model_is_not_found(registry: Registry) -> None:
    with pytest.raises(ModelNotFound):
        registry.get("n")
