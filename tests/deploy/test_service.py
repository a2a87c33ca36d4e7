"""What the manifests of the service say is what the service does: ports, paths, settings, signals, metrics."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.grpc.address import DEFAULT_PORT
from service.inference.threads import available_cpus
from service.observability.metrics import Metrics
from service.routes.health import LIVE_PATH, READY_PATH
from service.settings import Settings

Manifest = dict[str, Any]
Build = list[Manifest]
Find = Callable[..., Manifest]
Load = Callable[[Build, Manifest], Settings]
KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def template(deployment: Build, one: Find) -> Manifest:
    found: Manifest = one(deployment, "Deployment")["spec"]["template"]
    return found


def server(deployment: Build, one: Find) -> Manifest:
    (container,) = template(deployment, one)["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def fewest_replicas(deployment: Build, one: Find) -> int:
    """Return how many pods there are at least, and see that one thing alone decides it."""
    deciding = {"HorizontalPodAutoscaler": "minReplicas", "ScaledObject": "minReplicaCount"}
    scalers = [item["spec"][deciding[item["kind"]]] for item in deployment if item["kind"] in deciding]
    fixed = one(deployment, "Deployment")["spec"].get("replicas")
    (replicas,) = [*scalers, *([] if fixed is None else [fixed])]
    return int(replicas)


def test_settings_are_ones_that_the_server_takes(deployment: Build, one: Find, settings: Load) -> None:
    """An unknown key of axon.toml or of the environment, or a wrong value, raises here as it does at the start."""
    loaded = settings(deployment, server(deployment, one))

    assert loaded.host == "0.0.0.0"  # noqa: S104 -- inside a pod
    assert Path(loaded.repository) == Path("/models")
    assert loaded.model_control in {"static", "watch"}


def test_ports_are_those_of_the_server(deployment: Build, one: Find, settings: Load) -> None:
    container = server(deployment, one)
    loaded = settings(deployment, container)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert ports == {"http": loaded.port, "grpc": loaded.grpc_port or DEFAULT_PORT, "metrics": loaded.metrics_port}
    for service in (item for item in deployment if item["kind"] == "Service"):
        assert all(ports[port["targetPort"]] == port["port"] for port in service["spec"]["ports"])


def test_probes_ask_what_the_server_answers(deployment: Build, one: Find, settings: Load) -> None:
    container = server(deployment, one)
    loaded = settings(deployment, container)
    for name, path in zip(PROBES, (LIVE_PATH, LIVE_PATH, READY_PATH), strict=True):
        if loaded.tls_client_ca:
            assert container[name].keys() >= {"tcpSocket"}
            assert "httpGet" not in container[name]
        else:
            scheme = {"scheme": "HTTPS"} if loaded.tls_certificate else {}
            assert container[name]["httpGet"] == {"path": path, "port": "http", **scheme}
        assert "exec" not in container[name]


def test_pod_is_given_the_time_that_its_end_takes(deployment: Build, one: Find, settings: Load) -> None:
    spec = template(deployment, one)["spec"]
    container = server(deployment, one)
    loaded = settings(deployment, container)

    assert "lifecycle" not in container, "a pause before SIGTERM would come on top"
    assert loaded.shutdown_delay >= 5, "endpoints and balancers need a moment to learn that the pod goes"
    assert spec["terminationGracePeriodSeconds"] >= loaded.shutdown_delay + loaded.shutdown_timeout + 5


def test_threads_follow_from_the_limit_of_cpus(deployment: Build, one: Find, tmp_path: Path) -> None:
    limit = int(server(deployment, one)["resources"]["limits"]["cpu"])
    (tmp_path / "cpu.max").write_text(f"{limit * 100_000} 100000\n")

    assert available_cpus(affinity=64, cgroup=tmp_path) == limit


def test_selectors_choose_the_pods_of_the_server(deployment: Build, one: Find) -> None:
    labels = template(deployment, one)["metadata"]["labels"]
    spec = template(deployment, one)["spec"]
    selectors = [one(deployment, "Deployment")["spec"]["selector"]["matchLabels"]]
    selectors += [constraint["labelSelector"]["matchLabels"] for constraint in spec["topologySpreadConstraints"]]
    for item in deployment:
        match item["kind"]:
            case "Service":
                selectors.append(item["spec"]["selector"])
            case "PodDisruptionBudget" | "PodMonitor":
                selectors.append(item["spec"]["selector"]["matchLabels"])
            case "NetworkPolicy":
                selectors.append(item["spec"]["podSelector"]["matchLabels"])

    assert all(selector.items() <= labels.items() for selector in selectors)
    assert {"app.kubernetes.io/name", "app.kubernetes.io/component"} <= selectors[0].keys()


def test_disruption_budget_fits_the_replicas(deployment: Build, one: Find) -> None:
    """With one replica a budget would keep nodes from being drained, or protect nothing; with more, one may go."""
    replicas = fewest_replicas(deployment, one)
    budgets = [item["spec"] for item in deployment if item["kind"] == "PodDisruptionBudget"]

    assert len(budgets) == (replicas > 1)
    assert all(0 < budget["maxUnavailable"] < replicas for budget in budgets)


def test_rollout_never_leaves_nobody_to_serve(deployment: Build, one: Find) -> None:
    rolling = one(deployment, "Deployment")["spec"]["strategy"]["rollingUpdate"]

    assert rolling["maxSurge"] or rolling["maxUnavailable"]
    assert rolling["maxUnavailable"] < fewest_replicas(deployment, one)


def test_scalers_scale_the_deployment(deployment: Build) -> None:
    references = [
        item["spec"]["scaleTargetRef"] for item in deployment if item["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}
    ]

    assert all(reference == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "axon"} for reference in references)


def test_network_policy_shows_callers_the_protocols_and_prometheus_the_metrics(deployment: Build) -> None:
    for policy in (item["spec"] for item in deployment if item["kind"] == "NetworkPolicy"):
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        callers, prometheus, *ingress = [{port["port"] for port in rule["ports"]} for rule in policy["ingress"]]
        assert all(rule["from"] for rule in policy["ingress"]), "a rule without senders lets everybody in"
        assert callers == {"http", "grpc"}
        assert prometheus == {"metrics"}
        assert ingress in ([], [{"http"}])


def test_monitors_scrape_the_pods_once(deployment: Build, one: Find) -> None:
    services = [item for item in deployment if item["kind"] == "Service"]
    for monitor in (item for item in deployment if item["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (chosen,) = [item for item in services if wanted <= item["metadata"]["labels"].items()]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["path"] == "/metrics"
        assert endpoint["port"] in {port["name"] for port in chosen["spec"]["ports"]}
    for monitor in (item for item in deployment if item["kind"] == "PodMonitor"):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["path"] == "/metrics"
        assert endpoint["port"] in {port["name"] for port in server(deployment, one)["ports"]}


def test_monitors_have_what_the_server_asks_of_them(deployment: Build, one: Find, settings: Load) -> None:
    """A key where keys are asked for, https where TLS is spoken."""
    loaded = settings(deployment, server(deployment, one))
    monitors = [item["spec"] for item in deployment if item["kind"] in {"ServiceMonitor", "PodMonitor"}]
    for endpoint in (monitor.get("endpoints", monitor.get("podMetricsEndpoints"))[0] for monitor in monitors):
        assert ("authorization" in endpoint) == (loaded.api_keys is not None and not loaded.open_metrics)
        assert (endpoint.get("scheme") == "https") == (loaded.tls_certificate is not None)


def test_files_that_settings_name_are_mounted(deployment: Build, one: Find, settings: Load) -> None:
    container = server(deployment, one)
    loaded = settings(deployment, container)
    mounted = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
    for path in (loaded.api_keys, loaded.tls_certificate, loaded.tls_key, loaded.tls_client_ca):
        assert path is None or path.parent in mounted
    assert Path("/var/lib/axon") in mounted, "the working directory of the image, where axon.toml is read"


def test_certificate_is_for_the_names_of_the_services(built: Callable[[str], Build], one: Find) -> None:
    build = built("base + tls")
    names = one(build, "Certificate")["spec"]["dnsNames"]
    for service in (item["metadata"] for item in build if item["kind"] == "Service"):
        assert f"{service['name']}.{service['namespace']}.svc.cluster.local" in names


def test_ingress_leads_to_the_protocols_alone(built: Callable[[str], Build], one: Find) -> None:
    build = built("base + ingress")
    paths = [path for rule in one(build, "Ingress")["spec"]["rules"] for path in rule["http"]["paths"]]
    ports = {port["name"] for port in one(build, "Service", "axon")["spec"]["ports"]}

    assert {path["path"] for path in paths} == {"/v1", "/v2"}
    assert all(path["backend"]["service"]["name"] == "axon" for path in paths)
    assert all(path["backend"]["service"]["port"]["name"] in ports for path in paths)


def test_no_secret_stands_in_the_manifests(build: Build) -> None:
    assert "Secret" not in {item["kind"] for item in build}


def _queries() -> Iterator[str]:
    for path in (KUBERNETES / "components").glob("*/*.yaml"):
        yield from re.findall(r"\baxon_\w+_seconds_(?:sum|count|bucket)\b", path.read_text(encoding="utf-8"))


def test_scalers_ask_for_metrics_that_the_server_has() -> None:
    families = {family.name for family in Metrics(server_version="1").registry.collect()}
    asked = set(_queries())

    assert asked == {"axon_inference_queue_duration_seconds_sum"}
    assert {name.removesuffix("_sum") for name in asked} <= families


def test_adapter_makes_the_metric_that_its_autoscaler_asks_for(built: Callable[[str], Build], one: Find) -> None:
    values = yaml.safe_load((KUBERNETES / "components" / "prometheus-adapter" / "adapter-values.yaml").read_text(encoding="utf-8"))
    made = {rule["name"]["as"] for rule in values["rules"]["custom"]}
    asked = one(built("base + prometheus-adapter"), "HorizontalPodAutoscaler")["spec"]["metrics"]

    assert {metric["pods"]["metric"]["name"] for metric in asked if metric["type"] == "Pods"} == made


def test_gpu_overlay_asks_for_a_gpu_and_refuses_to_run_without(built: Callable[[str], Build], one: Find, settings: Load) -> None:
    build = built("overlays/gpu")
    spec = template(build, one)["spec"]
    container = server(build, one)

    assert container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"] == "1"
    assert container["image"] == "axon:gpu"
    assert settings(build, container).provider == "CUDAExecutionProvider"
    assert spec["nodeSelector"]
    assert spec["tolerations"]


@pytest.mark.parametrize("name", ["overlays/cpu", "overlays/gpu", "overlays/dev"])
def test_overlays_watch_the_claim_that_training_publishes_to(
    built: Callable[[str], Build], one: Find, settings: Load, name: str
) -> None:
    build = built(name)
    volume = next(volume for volume in template(build, one)["spec"]["volumes"] if volume["name"] == "models")

    assert volume["persistentVolumeClaim"]["claimName"] == one(built("namespace"), "PersistentVolumeClaim")["metadata"]["name"]
    assert settings(build, server(build, one)).model_control == "watch"


def test_kind_cluster_has_the_ports_and_the_directory_of_its_overlay(built: Callable[[str], Build], one: Find) -> None:
    build = built("overlays/dev")
    node = yaml.safe_load((KUBERNETES / "overlays" / "dev" / "kind.yaml").read_text(encoding="utf-8"))["nodes"][0]
    ports = {port["nodePort"]: port["port"] for port in one(build, "Service", "axon")["spec"]["ports"] if "nodePort" in port}

    assert {entry["containerPort"]: entry["hostPort"] for entry in node["extraPortMappings"]} == ports
    assert one(build, "PersistentVolume")["spec"]["hostPath"]["path"] == node["extraMounts"][0]["containerPath"]
