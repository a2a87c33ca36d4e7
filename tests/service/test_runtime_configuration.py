"""What model.toml says of the runtime, on a real server."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from service.inference.threads import available_cpus

ROW = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
Running = Callable[..., AbstractContextManager[Any]]


@pytest.fixture
def models(tmp_path: Path, graphs: Any, save: Callable[..., Path]) -> Path:
    """Build a repository of one model, m."""
    save(graphs.affine(), tmp_path / "models" / "m" / "1")
    return tmp_path / "models"


def test_model_is_served_as_its_file_says(models: Path, running: Running) -> None:
    (models / "m" / "model.toml").write_text(
        """
        instances = 2
        intra_op_threads = 1
        providers = ["NoExecutionProvider", "CPUExecutionProvider"]
        provider_policy = "prefer"
        [session]
        graph_optimization = "basic"
        arena_shrinkage = true
        [warm_up]
        batch_sizes = [1, 8]
        """,
        encoding="utf-8",
    )

    with running(models) as server:
        answer = server.infer("m", ROW)

    assert answer.status_code == 200
    assert "rows, 2 instances, 1 thread a run" in server.log
    assert (
        "doing without a provider, as provider_policy = 'prefer' allows: The execution provider NoExecutionProvider" in server.log
    )


def test_reason_of_a_required_provider_that_is_missing_is_in_the_index(models: Path, running: Running) -> None:
    (models / "m" / "model.toml").write_text("providers = ['NoExecutionProvider']", encoding="utf-8")

    with running(models) as server:
        index = server.http.post(f"{server.url}/v2/repository/index").json()

    assert index[0]["state"] == "UNAVAILABLE"
    assert "NoExecutionProvider is not in the installed onnxruntime" in index[0]["reason"]


def test_optimised_graphs_are_kept_from_start_to_start(models: Path, running: Running, tmp_path: Path) -> None:
    for _ in range(2):
        with running(models, AXON_CACHE_DIRECTORY=str(tmp_path / "cache")) as server:
            assert server.infer("m", ROW).status_code == 200
        assert "cache" not in server.log
        assert [path.name[:4] for path in (tmp_path / "cache").iterdir()] == ["m@1@"]


def test_models_of_a_repository_share_the_cpus(models: Path, graphs: Any, save: Callable[..., Path], running: Running) -> None:
    """More models than there are CPUs: one thread each."""
    others = available_cpus() * 2 - 1
    for index in range(others):
        save(graphs.affine(), models / f"other{index}" / "1")

    with running(models) as server:
        log = server.log

    assert log.count("rows, 1 thread a run") == others + 1
