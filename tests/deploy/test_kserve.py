"""Axon as a runtime of KServe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.repository.layout import find_models
from service.settings import Settings

Manifest = dict[str, Any]
Build = list[Manifest]
Find = Callable[..., Manifest]
Load = Callable[[Build, Manifest], Settings]
MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture
def build(built: Callable[[str], Build]) -> Build:
    return built("kserve")


@pytest.fixture
def runtime(build: Build, one: Find) -> Manifest:
    found: Manifest = one(build, "ServingRuntime")["spec"]
    return found


def services(build: Build) -> list[Manifest]:
    return [item for item in build if item["kind"] == "InferenceService"]


def test_runtime_serves_one_model_under_the_name_of_its_service(build: Build, runtime: Manifest, settings: Load) -> None:
    (container,) = runtime["containers"]
    container = {**container, "args": [arg.replace("{{.Name}}", "wine-7") for arg in container["args"]]}
    loaded = settings(build, container)

    assert container["name"] == "kserve-container"
    assert loaded.model_name == "wine-7"
    assert Path(loaded.repository) == Path("/mnt/models")
    assert (loaded.host, loaded.port, loaded.grpc_port) == ("0.0.0.0", 8080, 9000)  # noqa: S104 -- inside a pod


def test_directory_of_a_model_is_served_as_it_is_mounted() -> None:
    """`pvc://axon-models/wine` is one model with its versions, at /mnt/models."""
    (model,) = find_models(MODELS / "wine", model_name="wine-7")

    assert model.name == "wine-7"
    assert model.versions


def test_runtime_is_chosen_for_onnx_by_itself(build: Build, runtime: Manifest) -> None:
    chosen = {entry["name"] for entry in runtime["supportedModelFormats"] if entry["autoSelect"] and entry["priority"] >= 1}

    assert not runtime["multiModel"]
    for model in (item["spec"]["predictor"]["model"] for item in services(build)):
        assert model["modelFormat"]["name"] in chosen
        assert "runtime" not in model


def test_there_is_a_service_for_every_protocol(build: Build, runtime: Manifest) -> None:
    protocols = [item["spec"]["predictor"]["model"]["protocolVersion"] for item in services(build)]

    assert sorted(protocols) == sorted(runtime["protocolVersions"])


def test_grpc_has_the_one_port_that_is_declared(build: Build, runtime: Manifest) -> None:
    """Without a declared port KServe takes 8080; Knative takes no pod with two."""
    assert "ports" not in runtime["containers"][0]
    for model in (item["spec"]["predictor"]["model"] for item in services(build)):
        ports = [(port["name"], port["containerPort"]) for port in model.get("ports", [])]
        assert ports == ([("h2c", 9000)] if model["protocolVersion"] == "grpc-v2" else [])


def test_runtime_has_a_readiness_probe_of_its_own_and_says_where_its_metrics_are(runtime: Manifest) -> None:
    (container,) = runtime["containers"]

    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8080}
    assert runtime["annotations"] == {"prometheus.kserve.io/port": "8080", "prometheus.kserve.io/path": "/metrics"}
