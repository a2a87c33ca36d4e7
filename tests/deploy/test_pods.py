"""Rules that every pod of ours keeps: the service, the training jobs, and what other engines make of our templates."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Manifest = dict[str, Any]
Build = list[Manifest]
DOCKER = Path(__file__).parents[2] / "deploy" / "docker"
UNITS = {"m": 1e-3, "": 1.0, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def quantity(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


@pytest.fixture
def specs(build: Build, pods: Callable[[Build], list[Manifest]]) -> list[Manifest]:
    """Return the pods of a build, inside templates of templates too."""
    return pods(build)


def containers(specs: list[Manifest]) -> list[Manifest]:
    return [container for spec in specs for container in [*spec["containers"], *spec.get("initContainers", [])]]


def test_pods_run_as_the_user_of_the_image(specs: list[Manifest]) -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (DOCKER / "service-cpu.Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert user is not None
    for spec in specs:
        for container in containers([spec]):
            context = {**spec.get("securityContext", {}), **container["securityContext"]}
            assert context["runAsNonRoot"] is True
            assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user.groups()


def test_pods_are_restricted(specs: list[Manifest]) -> None:
    """What the level `restricted` of Pod Security demands, and a read-only root."""
    for spec in specs:
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
        for container in containers([spec]):
            context = {**spec.get("securityContext", {}), **container["securityContext"]}
            assert context["allowPrivilegeEscalation"] is False
            assert context["privileged"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_pods_get_no_token_and_no_variables_of_services(build: Build, specs: list[Manifest]) -> None:
    """KServe's runtime has no such fields: there KServe makes the pod."""
    if any(manifest["kind"] == "ServingRuntime" for manifest in build):
        return
    for spec in specs:
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        accounts = [item for item in build if item["kind"] == "ServiceAccount"]
        assert spec["serviceAccountName"] in [account["metadata"]["name"] for account in accounts]
        assert all(account["automountServiceAccountToken"] is False for account in accounts)


def test_containers_have_limits_and_the_cpus_are_whole(specs: list[Manifest]) -> None:
    """The plan of threads follows from the limit of CPUs: half a one would be a thread that is stopped half of the time."""
    for container in containers(specs):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert quantity(requests["cpu"]) == quantity(limits["cpu"])
        assert quantity(limits["cpu"]).is_integer()
        assert quantity(requests["memory"]) == quantity(limits["memory"])


def test_volumes_that_are_mounted_are_there(specs: list[Manifest]) -> None:
    for spec in specs:
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        mounts = [mount for container in containers([spec]) for mount in container.get("volumeMounts", [])]
        assert {mount["name"] for mount in mounts} == volumes
        assert not any("subPath" in mount for mount in mounts), "a file mounted by subPath never changes"
        for container in containers([spec]):
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert len(paths) == len(set(paths))


def test_secrets_are_readable_by_the_group_of_the_pod_alone(specs: list[Manifest]) -> None:
    for spec in specs:
        for volume in spec.get("volumes", []):
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440
                assert spec["securityContext"]["fsGroup"] == 65532


def test_images_are_those_that_the_dockerfiles_say_how_to_build(specs: list[Manifest]) -> None:
    built = {tag for path in DOCKER.glob("*.Dockerfile") for tag in re.findall(r"-t (axon:\w+)", path.read_text(encoding="utf-8"))}

    assert built == {"axon:cpu", "axon:gpu", "axon:training"}
    assert {container["image"] for container in containers(specs)} <= built


def test_arguments_are_understood_by_the_command(specs: list[Manifest], parsed: Callable[[list[str]], dict[str, Any]]) -> None:
    for container in containers(specs):
        assert "command" not in container, "the entry point of the image is the command axon"
        assert parsed(container["args"])
