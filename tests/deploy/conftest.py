"""Builds the manifests as a person would apply them, by `kubectl kustomize`, and finds what is in them."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from service.cli import axon
from service.settings import FILE_NAME, PREFIX, Settings

Manifest = dict[str, Any]
Build = list[Manifest]

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
DOCKER = ROOT / "deploy" / "docker"
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
DIRECTORIES = sorted(
    path.parent.relative_to(KUBERNETES).as_posix()
    for path in KUBERNETES.rglob("kustomization.yaml")
    if "kind: Kustomization" in path.read_text(encoding="utf-8")
)
NEEDS = {"mutual-tls": ["tls"]}
COMBINATIONS = [
    ["models-pvc", "service-monitor", "keda", "ingress", "tls", "api-keys"],
    ["models-s3", "pod-monitor", "prometheus-adapter", "tls", "mutual-tls", "api-keys"],
]
BUILDS = [*DIRECTORIES, *(" + ".join(["base", *NEEDS.get(name, []), name]) for name in COMPONENTS)]
BUILDS += [" + ".join(["base", *names]) for names in COMBINATIONS]


@cache
def _built(name: str, place: Path) -> Build:
    base, *components = name.split(" + ")
    directory = KUBERNETES / base
    if components:
        directory = place / name.replace(" ", "")
        directory.mkdir(exist_ok=True)
        path = Path(os.path.relpath(KUBERNETES, directory.resolve()))
        parts = {"resources": [str(path / base)], "components": [str(path / "components" / part) for part in components]}
        (directory / "kustomization.yaml").write_text(yaml.safe_dump(parts), encoding="utf-8")
    done = subprocess.run(["kubectl", "kustomize", str(directory)], capture_output=True, text=True, check=False)  # noqa: S607 -- wherever it is
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Build]:
    """Return a function that builds a directory of deploy/kubernetes, or `base` with components: "base + keda"."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which builds the manifests, is not installed")
    place = tmp_path_factory.mktemp("kustomize")
    return lambda name: _built(name, place)


@pytest.fixture(params=BUILDS)
def build(request: pytest.FixtureRequest, built: Callable[[str], Build]) -> Build:
    """Every build, one after the other."""
    return built(request.param)


@pytest.fixture(params=[name for name in BUILDS if name.startswith(("base", "overlays"))])
def deployment(request: pytest.FixtureRequest, built: Callable[[str], Build]) -> Build:
    """Every build that has the Deployment of the service."""
    return built(request.param)


@pytest.fixture(scope="session")
def one() -> Callable[..., Manifest]:
    """Return a function that finds the one manifest of a kind, and of a name if there are several."""

    def find(build: Build, kind: str, name: str | None = None) -> Manifest:
        found = [item for item in build if item["kind"] == kind and name in (None, item["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} of {kind} {name or ''}"
        return found[0]

    return find


def _pod_specs(node: Any) -> Iterator[Manifest]:
    if isinstance(node, dict):
        if "containers" in node:
            yield node
        for value in node.values():
            yield from _pod_specs(value)
    elif isinstance(node, list):
        for value in node:
            yield from _pod_specs(value)


@pytest.fixture(scope="session")
def pods() -> Callable[[Build], list[Manifest]]:
    """Return a function that finds the pod specs of a build, those inside templates of templates too."""
    return lambda build: list(_pod_specs(build))


@pytest.fixture(scope="session")
def parsed() -> Callable[[list[str]], dict[str, Any]]:
    """Return a function that reads the arguments of a container as the command `axon` does; wrong ones raise."""

    def parse(args: list[str]) -> dict[str, Any]:
        group = click.Context(axon)
        name, *rest = args
        command = axon.get_command(group, name)
        assert command is not None, f"there is no command axon {name}"
        while isinstance(command, click.Group):
            name, *rest = rest
            command = command.get_command(group, name)
            assert command is not None, f"there is no command {name}"
        return command.make_context(name, list(rest)).params

    return parse


def _image_environment(image: str) -> dict[str, str]:
    """Return the settings that the Dockerfile of a service image makes."""
    tag = image.rpartition(":")[2]
    text = (DOCKER / f"service-{tag}.Dockerfile").read_text(encoding="utf-8")
    return dict(re.findall(rf"({PREFIX}[A-Z_]+)=(\S+)", text))


@pytest.fixture
def settings(tmp_path: Path, parsed: Callable[[list[str]], dict[str, Any]]) -> Callable[[Build, Manifest], Settings]:
    """Return a function that loads the settings that a container of the service starts with."""

    def load(build: Build, container: Manifest) -> Settings:
        for manifest in build:
            if manifest["kind"] == "ConfigMap" and FILE_NAME in manifest.get("data", {}):
                (tmp_path / FILE_NAME).write_text(manifest["data"][FILE_NAME], encoding="utf-8")
        environ = _image_environment(container["image"])
        environ |= {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}
        return Settings.load(environ=environ, directory=tmp_path, overrides=parsed(container["args"]))

    return load
