"""What can be wrong with a version that arrives: the old one serves on, and the reason is readable in index, log and metrics."""

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import external_data_helper

from service.repository.layout import GRAPH_NAME
from service.repository.manifest import MANIFEST_NAME
from service.repository.samples import Samples
from service.repository.signature import Signature, TensorSpec

Running = Callable[..., AbstractContextManager[Any]]
Spoil = Callable[[Path], None]

ROW = np.array([[1, 2, 3, 4]], dtype=np.float32)
SIGNATURE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 4)),), outputs=(TensorSpec("y", "FP32", (-1, 3)),))
BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


@pytest.fixture
def publish_affine(graphs: Any, publish_graph: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that publishes the affine graph as the next version of a model."""

    def write(model: Path, *, samples: Samples | None = None) -> None:
        publish_graph(graphs.affine(), model, SIGNATURE, samples=samples)

    return write


def index_of(server: Any, model: str) -> dict[str, dict[str, str]]:
    entries = server.http.post(f"{server.url}/v2/repository/index").json()
    return {entry.get("version", ""): entry for entry in entries if entry["name"] == model}


def answered_by(server: Any) -> str:
    return str(server.infer("m", BODY).json()["model_version"])


def no_graph(version: Path) -> None:
    (version / MANIFEST_NAME).unlink()
    (version / GRAPH_NAME).write_bytes(b"no graph")


def wrong_checksum(version: Path) -> None:
    (version / GRAPH_NAME).write_bytes((version / GRAPH_NAME).read_bytes() + b"\0")


def half_a_manifest(version: Path) -> None:
    (version / MANIFEST_NAME).write_bytes((version / MANIFEST_NAME).read_bytes()[:100])


def other_signature(version: Path) -> None:
    manifest = json.loads((version / MANIFEST_NAME).read_text())
    manifest["signature"]["inputs"][0]["name"] = "other"
    (version / MANIFEST_NAME).write_text(json.dumps(manifest))


def external(location: str, *, remove: bool = False) -> Spoil:
    """Move the weights into a file beside the graph, say that it is at `location`, and perhaps remove it."""

    def spoil(version: Path) -> None:
        (version / MANIFEST_NAME).unlink()
        model = onnx.load(version / GRAPH_NAME)
        external_data_helper.convert_model_to_external_data(model, location="weights", size_threshold=0)
        onnx.save(model, version / GRAPH_NAME)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        (version / GRAPH_NAME).write_bytes(model.SerializeToString())
        if remove:
            (version / "weights").unlink()
        elif location != "weights":
            shutil.copy(version / "weights", version.parent / "weights")

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(no_graph, "is not an ONNX graph", id="no ONNX"),
        pytest.param(wrong_checksum, "SHA-256|size", id="a file that differs from its checksum"),
        pytest.param(half_a_manifest, "manifest", id="half a manifest"),
        pytest.param(other_signature, "declares the inputs", id="a signature that is not the graph's"),
        pytest.param(external("weights", remove=True), "weights", id="external data that is missing"),
        pytest.param(external("../weights"), "weights", id="external data outside the version"),
    ],
)
def test_faulty_version_never_replaces_the_one_that_serves(
    tmp_path: Path, running: Running, publish_affine: Callable[..., None], spoil: Spoil, reason: str
) -> None:
    publish_affine(tmp_path / "m")
    publish_affine(tmp_path / "other")
    spoil(tmp_path / "other" / "1")
    with running(tmp_path, "--model-control", "watch", AXON_WATCH_INTERVAL="0.2") as server:
        failures = server.metric("axon_model_load_failures_total", model="m")
        shutil.move(tmp_path / "other" / "1", tmp_path / "m" / "2")
        server.wait_for("model m 2 is unavailable: .*(" + reason + ")")
        index = index_of(server, "m")

        assert answered_by(server) == "1"
        assert (index["1"]["state"], index["2"]["state"]) == ("READY", "UNAVAILABLE")
        assert index["2"]["reason"] in server.log
        assert server.metric("axon_model_load_failures_total", model="m") > failures


def test_version_whose_samples_do_not_replay_never_replaces_the_one_that_serves(
    tmp_path: Path, running: Running, publish_affine: Callable[..., None]
) -> None:
    publish_affine(tmp_path / "m")
    with running(tmp_path, "--model-control", "watch", AXON_WATCH_INTERVAL="0.2") as server:
        publish_affine(tmp_path / "m", samples=Samples(inputs={"x": ROW}, outputs={"y": np.zeros((1, 3), np.float32)}))
        server.wait_for("model m 2 is unavailable: Output 'y' differs from the samples by")

        assert answered_by(server) == "1"


def test_configuration_that_becomes_wrong_changes_nothing_until_it_is_mended(
    tmp_path: Path, running: Running, publish_affine: Callable[..., None]
) -> None:
    """The reason is said once, stands in the index beside the version that serves, and goes when the file is right again."""
    publish_affine(tmp_path / "m")
    with running(tmp_path, "--model-control", "watch", AXON_WATCH_INTERVAL="0.1") as server:
        (tmp_path / "m" / "model.toml").write_text("[batching]\nmax_batch_sise = 8")
        server.wait_for("model m 1 serves on as it was.*max_batch_sise")
        broken = index_of(server, "m")["1"]
        answer = answered_by(server)
        said = server.log.count("max_batch_sise")
        (tmp_path / "m" / "model.toml").write_text("")
        server.wait_for("what was wrong is mended")

        assert (broken["state"], answer) == ("READY", "1")
        assert "max_batch_sise" in broken["reason"]
        assert server.log.count("max_batch_sise") == said
        assert "reason" not in index_of(server, "m")["1"]


def test_label_moves_without_loading_anything(tmp_path: Path, running: Running, publish_affine: Callable[..., None]) -> None:
    for _ in range(2):
        publish_affine(tmp_path / "m")
    configuration = tmp_path / "m" / "model.toml"
    configuration.write_text('labels = { stable = 1 }\n[versions]\npolicy = "all"')
    with running(tmp_path, "--model-control", "watch", AXON_WATCH_INTERVAL="0.1") as server:
        loads = server.log.count("ready on")
        configuration.write_text('labels = { stable = 2 }\n[versions]\npolicy = "latest"')
        server.wait_for("version 1 unloads: replaced by version 2")

        assert server.log.count("ready on") == loads
        assert answered_by(server) == "2"
