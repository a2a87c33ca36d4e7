"""Shared by the conformance tests: a repository with a model of every datatype, and real servers over it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from service.repository.datatypes import DATATYPES
from service.repository.signature import Signature, TensorSpec


def load_file(path: Path) -> Any:
    """Import a file by its path, since `tests` is no package and a foreign one may have the name."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The builders and servers of tests/service.
_fixtures = load_file(Path(__file__).parents[1] / "service" / "conftest.py")
anyio_backend, graphs, launched = _fixtures.anyio_backend, _fixtures.graphs, _fixtures.launched
publish_graph, running, save = _fixtures.publish_graph, _fixtures.running, _fixtures.save

BODY_LIMIT = 1_000_000


@pytest.fixture(scope="session")
def load_module() -> Callable[[Path], Any]:
    """Return a function that imports a script of this directory."""
    return load_file


@pytest.fixture(scope="session")
def conformance_repository(
    tmp_path_factory: pytest.TempPathFactory, graphs: Any, save: Callable[..., Path], publish_graph: Callable[..., Any]
) -> Path:
    """Build a repository: `identity_<datatype>`, a model with labels, one of two inputs, one that fails, one that cannot load."""
    root = tmp_path_factory.mktemp("conformance")
    for datatype in DATATYPES:
        if datatype != "BF16":
            save(graphs.identity(datatype), root / f"identity_{datatype.lower()}" / "1")
    publish_graph(
        graphs.affine(),
        root / "affine",
        Signature(
            inputs=(TensorSpec("x", "FP32", (-1, 4)),),
            outputs=(TensorSpec("y", "FP32", (-1, 3), labels=("red", "green", "blue")),),
        ),
    )
    save(graphs.identity("FP32", ["n", "m"]), root / "wide" / "1")
    save(graphs.summed(), root / "summed" / "1")
    save(graphs.lookup(), root / "lookup" / "1")
    save(graphs.slow(), root / "slow" / "1")
    (root / "broken" / "1").mkdir(parents=True)
    (root / "broken" / "1" / "model.onnx").write_bytes(b"no graph")
    return root


@pytest.fixture(scope="session")
def conformance_server(running: Callable[..., AbstractContextManager[Any]], conformance_repository: Path) -> Iterator[Any]:
    """Run a server that loads and unloads by calls."""
    with running(
        conformance_repository, "--model-control", "explicit", AXON_MAX_BODY_SIZE=str(BODY_LIMIT), AXON_MIN_COMPRESS_SIZE="1000"
    ) as started:
        yield started
