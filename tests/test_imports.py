"""The borders of design.md: who may import whom. Read from the source with `ast`, so nothing is imported."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("service", "training")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def targets(node: ast.AST) -> Iterator[str]:
    """Give the modules that a statement imports; `from a import b` means `a.b` where that is a module of ours."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        assert node.module
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            yield submodule if submodule in FILES else node.module
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "import_module":
        names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        yield from (name for name in names if not lies_in(name, *PACKAGES))  # what others wrote, loaded when it is first needed


@cache
def imports(module: str) -> frozenset[str]:
    return frozenset(target for node in ast.walk(tree(module)) for target in targets(node))


def lies_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def importers(*packages: str) -> set[str]:
    return {module for module in FILES if any(lies_in(target, *packages) for target in imports(module))}


@pytest.mark.parametrize(
    ("packages", "allowed"),
    [
        pytest.param(
            ["onnxruntime"],
            {
                "service.inference.session",
                "service.inference.device",
                "service.inference.providers",
                "training.parity",
                "training.features.running",
            },
            id="onnxruntime",
        ),
        pytest.param(["tf2onnx"], {"training.export.conversion"}, id="tf2onnx"),
        pytest.param(
            ["uvicorn", "uvloop"],
            {"service.server", "service.http.server"},
            id="the ASGI server",
        ),
        pytest.param(
            ["simdjson"],
            {"service.protocols.json_tensors", "service.protocols.json_values", "service.protocols.json_requests"},
            id="simdjson",
        ),
        pytest.param(
            ["grpc", "grpc_health", "grpc_reflection", "google.protobuf"],
            {module for module in FILES if lies_in(module, "service.grpc")},
            id="gRPC",
        ),
        pytest.param(["obstore"], {"service.storage.store"}, id="object stores"),
        pytest.param(["httpx"], {"service.commands.client"}, id="the HTTP client"),
        pytest.param(
            ["PIL"],
            {"service.protocols.pictures", "training.datasets.cifar10", "training.datasets.image_folder"},
            id="reading pictures",
        ),
    ],
)
def test_package_is_imported_only_where_it_belongs(packages: list[str], allowed: set[str]) -> None:
    assert {module for module in importers(*packages) if lies_in(module, *PACKAGES)} - {"training.demo"} <= allowed


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        pytest.param(
            "service", ("tensorflow", "keras", "tf2onnx", "onnx", "sklearn", "training"), id="service: nothing of training"
        ),
        pytest.param("service.repository", ("litestar", "onnxruntime"), id="repository: neither web nor runtime"),
        pytest.param("service.inference", ("litestar", "uvicorn"), id="inference: no web"),
        pytest.param("service.protocols", ("litestar", "uvicorn"), id="protocols: no web"),
        pytest.param("service.registry", ("litestar", "uvicorn"), id="registry: no web"),
        pytest.param("service.security", ("litestar", "uvicorn", "grpc"), id="security: neither web nor gRPC"),
        pytest.param("training", ("litestar", "uvicorn"), id="training: no web"),
    ],
)
def test_package_is_kept_out(inside: str, outside: tuple[str, ...]) -> None:
    assert {module for module in importers(*outside) if lies_in(module, inside)} == set()


def test_only_one_file_knows_opentelemetry() -> None:
    assert importers("opentelemetry") == {"service.observability.tracing"}


def test_only_observability_knows_prometheus() -> None:
    assert {module for module in importers("prometheus_client") if not lies_in(module, "service.observability")} == set()


# What each part of the service may import of the service; every part may import service.errors and itself.
MAY_IMPORT = {
    "service.errors": (),
    "service.repository": (),
    "service.inference": ("service.repository", "service.request_context", "service.traces"),
    "service.registry": ("service.repository", "service.inference"),
    "service.protocols": ("service.repository", "service.inference.served_model"),
    "service.observability": (
        "service.inference",
        "service.lifecycle.transitions",
        "service.registry",
        "service.offload",
        "service.request_context",
        "service.traces",
    ),
    "service.security": (),
    "service.storage": ("service.repository", "service.inference.private_files"),
    "service.routes": (
        "service.http.exchange",
        "service.http.asgi_exchange",
        "service.repository",
        "service.inference",
        "service.registry",
        "service.protocols",
        "service.observability",
        "service.offload",
        "service.request_context",
        "service.room",
        "service.security",
        "service.management",
    ),
    "service.grpc": (
        "service.repository",
        "service.inference",
        "service.registry",
        "service.protocols",
        "service.offload",
        "service.request_context",
        "service.room",
        "service.security",
        "service.processes.stopping",
        "service.management",
    ),
    "service.management": (
        "service.inference",
        "service.observability.statistics",
        "service.processes.process",
        "service.protocols",
        "service.registry",
    ),
    "service.processes.stopping": (),
    "service.lifecycle": ("service.repository", "service.inference", "service.registry", "service.offload"),
    "service.offload": (),
    "service.room": ("service.offload",),
    "service.request_context": ("service.traces",),
    "service.traces": (),
    "service.processes.process": ("service.observability.shared_values", "service.processes.stopping"),
    "service.http": ("service.processes.process", "service.request_context"),
    "service.processes": ("service.observability", "service.settings"),
    "service.settings": ("service.observability.logging",),
    "service.commands": ("service.repository", "service.protocols", "service.security", "service.settings", "service.storage"),
}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_service_is_imported_downwards_only(part: str) -> None:
    allowed = ("service.errors", part, *MAY_IMPORT[part])
    modules = [module for module in FILES if lies_in(module, part)]

    found = {target for module in modules for target in imports(module) if lies_in(target, "service")}

    assert modules
    assert {target for target in found if not lies_in(target, *allowed)} - {"service"} == set()


def test_only_the_top_knows_the_application() -> None:
    assert importers("service.app") == {"service.server"}
    assert importers("service.server") == {"service.cli"}
    assert importers("service.cli") == set()
    assert {module for module in importers("service.commands") if not lies_in(module, "service.commands")} == {"service.cli"}


def test_training_knows_only_the_repository_of_the_service_and_what_it_raises() -> None:
    found = {target for module in FILES if lies_in(module, "training") for target in imports(module) if lies_in(target, "service")}

    assert {target for target in found if not lies_in(target, "service.repository", "service.errors")} - {"service"} == set()


def test_environment_is_read_at_the_two_entry_points() -> None:
    reading = {
        module
        for module in FILES
        for node in ast.walk(tree(module))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"})
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and {"environ", "getenv"} & {a.name for a in node.names})
    }

    assert reading <= {"service.cli", "training.cli", "service"}  # the package itself only sets what onnxruntime reads


def test_no_module_imports_itself_by_a_detour() -> None:
    finished: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module in finished:
            return
        for target in imports(module) & FILES.keys():
            visit(target, (*way, module))
        finished.add(module)

    for module in FILES:
        visit(module, ())


def test_own_packages_are_imported_at_the_top_of_a_file() -> None:
    """But for the commands of training, which must not load TensorFlow before one is called."""
    lazy = {
        module
        for module in FILES
        for function in ast.walk(tree(module))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        for target in targets(node)
        if lies_in(target, *PACKAGES)
    }

    assert lazy <= {"training.cli"}


def test_every_file_is_named_after_what_is_in_it() -> None:
    names = {part for module in FILES for part in module.split(".")}

    assert names.isdisjoint({"utils", "util", "helpers", "helper", "common", "misc"})


def test_tests_are_no_packages() -> None:
    """tests/service/__init__.py would hide the package `service`."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []
