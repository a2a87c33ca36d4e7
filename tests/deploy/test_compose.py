"""The compose file: what it publishes, mounts and sets is there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.grpc.address import DEFAULT_PORT
from service.settings import PREFIX, Settings

Service = dict[str, Any]
COMPOSE = Path(__file__).parents[2] / "deploy" / "compose"


@pytest.fixture
def services() -> dict[str, Service]:
    found: dict[str, Service] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


def sources(service: Service) -> dict[str, str]:
    """Map what is mounted to where."""
    entries = [entry if isinstance(entry, dict) else dict(zip(("source", "target"), entry.split(":"), strict=False))
               for entry in service.get("volumes", [])]  # fmt: skip
    return {entry["source"]: entry["target"] for entry in entries}


def test_everything_listens_on_loopback_alone(services: dict[str, Service]) -> None:
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_ports_of_the_service_are_its_own(services: dict[str, Service]) -> None:
    ports = [port.rsplit(":", 1)[1] for port in services["service"]["ports"]]

    assert ports == [str(Settings().port), str(DEFAULT_PORT)]


def test_settings_are_ones_that_the_server_takes(services: dict[str, Service], tmp_path: Path) -> None:
    environ = services["service"]["environment"]
    loaded = Settings.load(environ=environ, directory=tmp_path, overrides={})

    assert all(name.startswith(PREFIX) for name in environ)
    assert loaded.model_control == "watch", "training publishes beside it"
    assert int(services["service"]["stop_grace_period"].removesuffix("s")) >= loaded.shutdown_timeout + 5


def test_containers_may_nothing_that_they_need_not(services: dict[str, Service]) -> None:
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_images_have_versions_and_ours_are_built_from_their_dockerfiles(services: dict[str, Service]) -> None:
    for service in services.values():
        assert service["image"].rpartition(":")[2] not in {"", "latest"}
        if "build" in service:
            dockerfile = COMPOSE / service["build"]["context"] / service["build"]["dockerfile"]
            assert f"-t {service['image']}" in dockerfile.read_text(encoding="utf-8")


def test_files_that_are_mounted_are_there(services: dict[str, Service]) -> None:
    """But .axon, which `make run` makes, and which the file says how to make."""
    relative = [source for service in services.values() for source in sources(service) if source.startswith(".")]

    assert [source for source in relative if source != "../../.axon" and not (COMPOSE / source).exists()] == []


def test_training_publishes_where_the_service_looks(
    services: dict[str, Service], parsed: Callable[[list[str]], dict[str, Any]]
) -> None:
    train = services["train"]
    command = parsed(train["command"])
    mounts = {target: source for source, target in sources(train).items()}
    served = {target: source for source, target in sources(services["service"]).items()}

    assert train["profiles"] == ["train"], "it does not run with the others"
    assert mounts[str(command["repository"])] == served["/models"]
    assert "/workspace/.axon" in mounts


def test_prometheus_scrapes_the_service_and_reads_the_rules(services: dict[str, Service]) -> None:
    config = yaml.safe_load((COMPOSE / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    (rules,) = config["rule_files"]

    assert job["static_configs"] == [{"targets": [f"service:{Settings().port}"]}]
    assert os.path.dirname(rules) == sources(services["prometheus"])["../monitoring/rules"]  # noqa: PTH120 -- a pattern, no path


def test_grafana_has_the_source_and_the_dashboards(services: dict[str, Service]) -> None:
    source = yaml.safe_load((COMPOSE / "grafana" / "datasource.yaml").read_text(encoding="utf-8"))["datasources"][0]
    provider = yaml.safe_load((COMPOSE / "grafana" / "dashboards.yaml").read_text(encoding="utf-8"))["providers"][0]

    assert source["url"] == "http://prometheus:9090"
    assert provider["options"]["path"] == sources(services["grafana"])["../monitoring/dashboards"]
