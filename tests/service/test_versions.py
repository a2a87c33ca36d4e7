"""Versions that come, go and fail while the server runs."""

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from service.repository.layout import GRAPH_NAME
from service.repository.signature import Signature, TensorSpec

SIGNATURE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=(TensorSpec("y", "FP32", (-1, 2)),))
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}]}

Running = Callable[..., AbstractContextManager[Any]]
PublishScale = Callable[[Path, float], int]


@pytest.fixture
def publish_scale(graphs: Any, publish_graph: Callable[..., Any]) -> PublishScale:
    """Return a function that publishes y = scale x as the next version of a model and returns its number."""

    def write(model: Path, scale: float) -> int:
        graph = graphs.build(
            [helper.make_node("Mul", ["x", "scale"], ["y"])],
            {"x": ("FP32", ["n", 2])},
            {"y": ("FP32", ["n", 2])},
            scale=np.array([scale], dtype=np.float32),
        )
        version = publish_graph(graph, model, SIGNATURE).version
        assert isinstance(version, int)
        return version

    return write


def spoil(version: Path) -> None:
    (version / GRAPH_NAME).write_bytes(b"changed after it was published")


def answered_by(server: Any) -> str:
    return str(server.infer("m", BODY).json()["model_version"])


def test_new_version_takes_over_and_the_old_one_goes(tmp_path: Path, running: Running, publish_scale: PublishScale) -> None:
    publish_scale(tmp_path / "m", 1)
    with running(tmp_path, "--model-control", "watch") as server:
        publish_scale(tmp_path / "m", 2)
        server.wait_for("version 1 unloads: replaced by version 2")

        assert answered_by(server) == "2"
        assert server.get("/v2/models/m/versions/1").status_code == 404
        assert server.get("/v2/models/m").json()["versions"] == ["2"]


def test_swaps_under_load_fail_no_request(tmp_path: Path, running: Running, publish_scale: PublishScale) -> None:
    """Each answer is that of the version it names."""
    publish_scale(tmp_path / "m", 1)
    with running(tmp_path, "--model-control", "watch") as server:
        wrong: list[str] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                answer = server.infer("m", BODY)
                if answer.status_code != 200 or answer.json()["outputs"][0]["data"] != [float(answer.json()["model_version"])] * 2:
                    wrong.append(answer.text)

        client = threading.Thread(target=ask)
        client.start()
        for scale in range(2, 8):
            publish_scale(tmp_path / "m", scale)
            server.wait_for(f"version {scale} ready")
        over.set()
        client.join()

        assert wrong == []


def test_version_that_fails_never_replaces_the_one_that_serves(
    tmp_path: Path, running: Running, publish_scale: PublishScale
) -> None:
    publish_scale(tmp_path / "m", 1)
    with running(tmp_path, "--model-control", "watch") as server:
        publish_scale(tmp_path / "spoiled", 2)
        spoil(tmp_path / "spoiled" / "1")
        shutil.move(tmp_path / "spoiled" / "1", tmp_path / "m" / "2")
        server.wait_for("model m 2 is unavailable")
        entries = server.http.post(server.url + "/v2/repository/index").json()
        index = {entry["version"]: entry for entry in entries if entry["name"] == "m"}

        assert answered_by(server) == "1"
        assert index["1"]["state"] == "READY"
        assert "SHA-256" in index["2"]["reason"]


def test_start_falls_back_to_the_newest_version_that_can_be_loaded(
    tmp_path: Path, running: Running, publish_scale: PublishScale
) -> None:
    for scale in (1, 2, 3):
        publish_scale(tmp_path / "m", scale)
    spoil(tmp_path / "m" / "3")
    with running(tmp_path) as server:
        assert answered_by(server) == "2"


def test_deleting_the_directory_of_the_serving_version_harms_nothing(
    tmp_path: Path, running: Running, publish_scale: PublishScale
) -> None:
    publish_scale(tmp_path / "m", 1)
    publish_scale(tmp_path / "n", 1)
    with running(tmp_path, "--model-control", "watch", AXON_WATCH_INTERVAL="0.1") as server:
        shutil.rmtree(tmp_path / "m" / "1")
        publish_scale(tmp_path / "n", 2)
        server.wait_for("model n version 1 unloads")

        assert answered_by(server) == "1"


def test_model_whose_directory_is_gone_goes(tmp_path: Path, running: Running, publish_scale: PublishScale) -> None:
    publish_scale(tmp_path / "m", 1)
    publish_scale(tmp_path / "n", 1)
    with running(tmp_path, "--model-control", "watch") as server:
        shutil.rmtree(tmp_path / "n")
        server.wait_for("model n version 1 unloads: its directory is gone")

        assert server.get("/v2/models/n").status_code == 404
        assert answered_by(server) == "1"


def test_content_that_is_exchanged_is_loaded_though_size_and_time_are_the_same(
    tmp_path: Path, running: Running, publish_scale: PublishScale
) -> None:
    """What unpacks an archive, or a build that can be repeated, gives every file the same time."""

    def publish_at_the_same_time(directory: Path, scale: float) -> None:
        publish_scale(directory / "m", scale)
        for path in directory.rglob("*.*"):
            os.utime(path, (1, 1))

    publish_at_the_same_time(tmp_path / "models", 1)
    with running(tmp_path / "models", "--model-control", "watch", AXON_WATCH_INTERVAL="0.1") as server:
        before = server.infer("m", BODY).json()["outputs"][0]["data"]
        publish_at_the_same_time(tmp_path / "other", 2)
        (tmp_path / "models" / "m").rename(tmp_path / "was")
        (tmp_path / "other" / "m").rename(tmp_path / "models" / "m")
        server.until(lambda: server.infer("m", BODY).json().get("outputs", [{}])[0].get("data") == [2.0, 2.0])

    assert before == [1.0, 1.0]


def test_version_policy_that_names_nothing_there_changes_nothing_and_says_so(
    tmp_path: Path, running: Running, publish_scale: PublishScale
) -> None:
    publish_scale(tmp_path / "m", 1)
    configuration = tmp_path / "m" / "model.toml"
    with running(tmp_path, "--model-control", "explicit") as server:
        load = lambda: server.http.post(f"{server.url}/v2/repository/models/m/load")  # noqa: E731
        index = lambda: server.http.post(f"{server.url}/v2/repository/index").json()  # noqa: E731
        configuration.write_text('[versions]\npolicy = "specific"\nnumbers = [7]')
        refused = load()
        (entry,) = index()
        configuration.unlink()

        assert refused.status_code == 500
        assert "none of the versions that its model.toml names; it has 1" in refused.json()["error"]
        assert (entry["state"], entry["reason"]) == ("READY", refused.json()["error"])
        assert answered_by(server) == "1"
        assert load().status_code == 200
        assert index() == [{"name": "m", "state": "READY", "version": "1"}]


def test_repository_that_cannot_be_read_is_said_once_and_harms_nothing(
    tmp_path: Path, running: Running, publish_scale: PublishScale
) -> None:
    publish_scale(tmp_path / "models" / "m", 1)
    with running(tmp_path / "models", "--model-control", "watch", AXON_WATCH_INTERVAL="0.1") as server:
        (tmp_path / "models").rename(tmp_path / "away")
        server.wait_for("cannot read the model repository .* is not a directory")
        threading.Event().wait(0.5)
        answered = answered_by(server)
        (tmp_path / "away").rename(tmp_path / "models")
        server.wait_for("the model repository .* can be read again")

        assert answered == "1"
        assert server.log.count("cannot read the model repository") == 1
        assert "Traceback" not in server.log


def test_bare_graph_is_loaded_once_it_has_stopped_changing(
    tmp_path: Path, running: Running, graphs: Any, save: Callable[..., Path], publish_scale: PublishScale
) -> None:
    publish_scale(tmp_path / "m", 1)
    with running(tmp_path, "--model-control", "watch", AXON_WATCH_INTERVAL="0.2") as server:
        path = save(graphs.affine(), tmp_path / "bare" / "1")
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        path.write_bytes(whole)
        server.wait_for("model bare version 1 ready")

        assert "model bare 1 is unavailable" not in server.log


@pytest.mark.parametrize(
    ("policy", "serving"),
    [
        pytest.param("", ["3"], id="the newest by default"),
        pytest.param('[versions]\npolicy = "latest"\ncount = 2', ["2", "3"], id="the newest two"),
        pytest.param('[versions]\npolicy = "all"', ["1", "2", "3"], id="all"),
        pytest.param('[versions]\npolicy = "specific"\nnumbers = [1, 3, 9]', ["1", "3"], id="those named that are there"),
    ],
)
def test_version_policy(tmp_path: Path, running: Running, publish_scale: PublishScale, policy: str, serving: list[str]) -> None:
    for scale in (1, 2, 3):
        publish_scale(tmp_path / "m", scale)
    (tmp_path / "m" / "model.toml").write_text(policy)
    with running(tmp_path) as server:
        assert server.get("/v2/models/m").json()["versions"] == serving
        assert answered_by(server) == serving[-1]


def test_model_of_which_no_version_is_wanted_says_so(tmp_path: Path, running: Running, publish_scale: PublishScale) -> None:
    """In the log and the index, and to who loads it."""
    publish_scale(tmp_path / "m", 1)
    (tmp_path / "m" / "model.toml").write_text('[versions]\npolicy = "specific"\nnumbers = [5]')
    with running(tmp_path, "--model-control", "explicit") as server:
        loaded = server.http.post(f"{server.url}/v2/repository/models/m/load")
        (entry,) = server.http.post(f"{server.url}/v2/repository/index").json()

    assert entry["state"] == "UNAVAILABLE"
    assert "none of the versions that its model.toml names; it has 1" in entry["reason"]
    assert (loaded.status_code, loaded.json()["error"]) == (500, entry["reason"])


def test_models_are_loaded_and_unloaded_by_calls(tmp_path: Path, running: Running, publish_scale: PublishScale) -> None:
    publish_scale(tmp_path / "m", 1)
    with running(tmp_path, "--model-control", "explicit") as server:
        post = lambda path: server.http.post(f"{server.url}/v2/repository/models/{path}")  # noqa: E731
        publish_scale(tmp_path / "m", 2)
        before = answered_by(server)
        loaded = post("m/load")
        after = answered_by(server)
        unloaded = post("m/unload")

        assert (before, after) == ("1", "2")
        assert loaded.json() == {"name": "m", "load": True}
        assert unloaded.json() == {"name": "m", "unload": True}
        assert server.infer("m", BODY).status_code == 404
        assert server.get("/v2/models/m/ready").json()["code"] == "model_unloaded"
        assert post("m/unload").status_code == 404
        assert "nothing to unload" in post("m/unload").json()["error"]
        assert server.get("/v2/health/ready").status_code == 200
        assert post("m/load").status_code == 200
        assert answered_by(server) == "2"
        assert post("nope/load").status_code == 404
        assert post("nope/unload").status_code == 404


def test_load_that_fails_says_why_and_the_old_version_serves(tmp_path: Path, running: Running, publish_scale: PublishScale) -> None:
    publish_scale(tmp_path / "m", 1)
    with running(tmp_path, "--model-control", "explicit") as server:
        spoil(tmp_path / "m" / str(publish_scale(tmp_path / "m", 2)))
        answer = server.http.post(f"{server.url}/v2/repository/models/m/load")

        assert answer.status_code == 500
        assert "SHA-256" in answer.json()["error"]
        assert answered_by(server) == "1"


def test_calls_are_refused_unless_enabled(tmp_path: Path, running: Running, publish_scale: PublishScale) -> None:
    publish_scale(tmp_path / "m", 1)
    with running(tmp_path) as server:
        answer = server.http.post(f"{server.url}/v2/repository/models/m/unload")

        assert answer.status_code == 403
        assert answered_by(server) == "1"


def test_required_model_decides_readiness(tmp_path: Path, running: Running, publish_scale: PublishScale) -> None:
    publish_scale(tmp_path / "good", 1)
    spoil(tmp_path / "bad" / str(publish_scale(tmp_path / "bad", 1)))
    (tmp_path / "bad" / "model.toml").write_text("required = true")
    with running(tmp_path) as server:
        assert server.get("/v2/health/ready").status_code == 503
        assert server.get("/v2/health/live").status_code == 200


def test_version_that_vanishes_while_it_is_looked_at_ends_no_watch(
    tmp_path: Path, running: Running, publish_scale: PublishScale
) -> None:
    """A directory may be removed, or be of another user, at any moment; the watch goes on with the others."""
    publish_scale(tmp_path / "m", 1)
    with running(tmp_path, "--model-control", "watch", AXON_WATCH_INTERVAL="0.1") as server:
        over = threading.Event()

        def come_and_go() -> None:
            while not over.is_set():
                shutil.copytree(tmp_path / "m" / "1", tmp_path / "fleeting" / "1", dirs_exist_ok=True)
                shutil.rmtree(tmp_path / "fleeting")

        visitor = threading.Thread(target=come_and_go)
        visitor.start()
        threading.Event().wait(3)
        over.set()
        visitor.join()
        publish_scale(tmp_path / "m", 2)
        server.wait_for("model m version 2 ready")

        assert answered_by(server) == "2"
