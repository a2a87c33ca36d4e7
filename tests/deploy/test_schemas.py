"""Every manifest fits the interface that takes it: of two versions of Kubernetes, or of the custom resource."""

import importlib.resources
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(__file__).parent / "schemas"
VERSIONS = ["1.31.0", "1.37.0"]
CORE = "urn:kubernetes"

Manifest = dict[str, Any]


@cache
def definitions(version: str) -> dict[str, Any]:
    """Return the definitions of a version of Kubernetes, where a field that is not named is refused."""
    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}-local-strict"
    loaded: dict[str, Any] = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))
    return loaded["$defs"]


@cache
def kinds(version: str) -> dict[tuple[str, str, str], str]:
    """Map group, version and kind to the name of a definition."""
    return {
        (entry["group"], entry["version"], entry["kind"]): name
        for name, definition in definitions(version).items()
        for entry in definition.get("x-kubernetes-group-version-kind", [])
    }


@cache
def registry(version: str) -> Registry[Any]:
    return Registry().with_resource(CORE, Resource.from_contents({"$defs": definitions(version)}, DRAFT202012))


def referring(node: Any) -> Any:
    """Turn `kubernetes:NAME` into a reference that the registry knows."""
    if isinstance(node, dict):
        return {key: referring(value) for key, value in node.items()}
    if isinstance(node, list):
        return [referring(value) for value in node]
    return f"{CORE}#/$defs/{node.removeprefix('kubernetes:')}" if isinstance(node, str) and node.startswith("kubernetes:") else node


@cache
def custom(kind: str) -> dict[str, Any]:
    return referring(yaml.safe_load((SCHEMAS / f"{kind}.yaml").read_text(encoding="utf-8")))  # type: ignore[no-any-return]


def problems(manifest: Manifest, version: str) -> list[str]:
    """Say what of a manifest does not fit, and where."""
    group, _, api = manifest["apiVersion"].rpartition("/")
    name = kinds(version).get((group, api, manifest["kind"]))
    schema = custom(manifest["kind"]) if name is None else {"$ref": f"{CORE}#/$defs/{name}"}
    validator = jsonschema.Draft202012Validator(schema, registry=registry(version))
    title = f"{manifest['kind']} {manifest['metadata']['name']}"
    return [f"{title} {error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_fits_the_schema_of_its_kind(build: list[Manifest], version: str) -> None:
    assert build
    assert [problem for manifest in build for problem in problems(manifest, version)] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "kind", "path", "value"),
    [
        pytest.param("base", "Deployment", ["spec", "template", "spec", "replicas"], 2, id="a field in the wrong place"),
        pytest.param("base", "Service", ["spec", "ports", 0, "port"], "http", id="a word for a number"),
        pytest.param("base + service-monitor", "ServiceMonitor", ["spec", "endpoints", 0, "intervall"], "15s", id="a typo"),
        pytest.param("base + keda", "ScaledObject", ["spec", "triggers", 0, "metadata", "threshold"], 4, id="a number for a word"),
        pytest.param("kserve", "ServingRuntime", ["spec", "containers", 0, "imag"], "axon", id="a typo inside a container"),
        pytest.param("training/trainjob", "TrainJob", ["spec", "runtimeRef", "name"], None, id="nothing"),
        pytest.param("training/trainjob", "TrainJob", ["metadata", "name"], "axon.wine", id="a name with a dot"),
        pytest.param("base + tls", "Certificate", ["spec", "usages"], ["server"], id="a word that is none of its own"),
    ],
)
def test_schemas_refuse(
    built: Callable[[str], list[Manifest]], version: str, name: str, kind: str, path: list[Any], value: Any
) -> None:
    manifest = json.loads(json.dumps(next(item for item in built(name) if item["kind"] == kind)))
    place = manifest
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    assert problems(manifest, version)


def test_source_of_each_schema_is_named() -> None:
    rows = re.findall(
        r"^\| (`.*?) \| .* \((?:[0-9a-f]{7})\).* \|$", (SCHEMAS / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )

    assert sorted(row.strip("`") for row in rows) == sorted(path.stem for path in SCHEMAS.glob("*.yaml"))


def test_compose_file_fits_the_schema_of_compose() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text(encoding="utf-8"))

    assert [error.message for error in jsonschema.Draft202012Validator(custom("compose")).iter_errors(compose)] == []
