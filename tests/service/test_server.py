"""The path of a request through a real server process, seen by real clients."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tritonclient.http as triton

AFFINE_ROWS = np.array([[1, 2, 3, 4], [-1, 0.5, 0, 1e-3]], dtype=np.float32)


@pytest.fixture
def triton_client(server: Any) -> Iterator[triton.InferenceServerClient]:
    """Connect a client of the protocol that others wrote."""
    client = triton.InferenceServerClient("{}:{}".format(*server.address))
    yield client
    client.close()


def called_directly(repository: Path, model: str, inputs: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(repository / model / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, inputs)
    return outputs


def test_triton_client_finds_the_server_and_its_models(triton_client: triton.InferenceServerClient) -> None:
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready("affine")
    assert triton_client.is_model_ready("affine", "1")
    assert not triton_client.is_model_ready("unknown")
    assert not triton_client.is_model_ready("broken")
    assert triton_client.get_server_metadata()["name"] == "axon"


def test_triton_client_reads_the_signature(triton_client: triton.InferenceServerClient) -> None:
    metadata = triton_client.get_model_metadata("affine")

    assert metadata == {
        "name": "affine",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4], "parameters": {"features": ["a", "b", "c", "d"]}}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3], "parameters": {"labels": ["red", "green", "blue"]}}],
        "properties": metadata["properties"],
    }


def test_metadata_says_where_and_how_a_model_runs(triton_client: triton.InferenceServerClient) -> None:
    properties = triton_client.get_model_metadata("affine")["properties"]

    assert properties["nodes on CPUExecutionProvider"] == "1 of 1"
    assert properties["instances"] == "1"
    assert int(properties["threads of a run"]) >= 1
    assert "providers left out" not in properties


@pytest.mark.parametrize(
    ("model", "datatype", "rows"),
    [
        pytest.param("affine", "FP32", AFFINE_ROWS, id="floats"),
        pytest.param("integers", "INT64", np.array([[2**63 - 1, -(2**63)], [2**53 + 1, 0]]), id="integers"),
        pytest.param("strings", "BYTES", np.array([["größer", ""]], dtype=object), id="strings"),
    ],
)
def test_triton_client_gets_what_onnxruntime_gives(
    model: str, datatype: str, rows: Any, triton_client: triton.InferenceServerClient, repository: Path
) -> None:
    tensor = triton.InferInput("x", list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows, binary_data=False)
    wanted = triton.InferRequestedOutput("y", binary_data=False)

    answer = triton_client.infer(model, [tensor], outputs=[wanted], request_id="7")

    expected = called_directly(repository, model, {"x": rows})[0]
    actual = answer.as_numpy("y")
    if datatype == "BYTES":
        assert [value.decode() if isinstance(value, bytes) else value for value in actual.reshape(-1)] == rows.reshape(-1).tolist()
    else:
        np.testing.assert_array_equal(actual, expected, strict=True)
    assert answer.get_response()["id"] == "7"


def test_triton_client_shows_the_error(triton_client: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("x", [1, 5], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 5), np.float32), binary_data=False)

    with pytest.raises(triton.InferenceServerException, match=r"has shape \[1, 5\]; expected \[-1, 4\]"):
        triton_client.infer("affine", [tensor], outputs=[triton.InferRequestedOutput("y", binary_data=False)])


def test_answer_equals_onnxruntime_called_directly(server: Any, repository: Path) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": AFFINE_ROWS.tolist()}

    response = server.infer("affine", {"inputs": [tensor]})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert re.fullmatch(r"queue;dur=[\d.]+, compute;dur=[\d.]+, total;dur=[\d.]+", response.headers["server-timing"])
    body = response.json()
    (expected,) = called_directly(repository, "affine", {"x": AFFINE_ROWS})
    assert list(body) == ["model_name", "model_version", "outputs"]
    assert body["outputs"][0] | {"data": None} == {"name": "y", "datatype": "FP32", "shape": [2, 3], "data": None}
    np.testing.assert_array_equal(np.array(body["outputs"][0]["data"], np.float32), expected.reshape(-1))


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        pytest.param(None, ["sum", "difference"], id="all by default"),
        pytest.param([], ["sum", "difference"], id="all for an empty list"),
        pytest.param(["difference"], ["difference"], id="one"),
        pytest.param(["difference", "sum"], ["difference", "sum"], id="in the order asked for"),
    ],
)
def test_only_requested_outputs_are_given(wanted: list[str] | None, names: list[str], server: Any) -> None:
    inputs = [{"name": name, "datatype": "FP32", "shape": [1, 2], "data": [1, 2]} for name in ("b", "a")]
    body = {"inputs": inputs} | ({} if wanted is None else {"outputs": [{"name": name} for name in wanted]})

    response = server.infer("summed", body)

    assert [output["name"] for output in response.json()["outputs"]] == names


def test_version_can_be_named(server: Any, good_request: dict[str, Any]) -> None:
    assert server.infer("affine/versions/1", good_request).json()["model_version"] == "1"
    assert server.get("/v2/models/affine/versions/1").json()["name"] == "affine"
    assert server.get("/v2/models/affine/versions/1/ready").json() == {"name": "affine", "ready": True}


def test_more_rows_than_a_batch_come_back_in_order(server: Any) -> None:
    rows = np.arange(2 * 1000).reshape(1000, 2)

    response = server.infer("integers", {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1000, 2], "data": rows.tolist()}]})

    assert response.json()["outputs"][0]["data"] == rows.reshape(-1).tolist()


def test_failed_run_is_a_500_that_names_the_model(server: Any) -> None:
    request = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 1], "data": [99]}]}

    response = server.infer("lookup", request)

    assert response.status_code == 500
    assert response.json()["code"] == "model_failed"
    assert response.json()["error"].startswith("Model 'lookup' version 1 failed to run: ")
    assert server.infer("lookup", {"inputs": [request["inputs"][0] | {"data": [2]}]}).json()["outputs"][0]["data"] == [20]
    assert "\x1b" not in server.log


def test_health_and_server_metadata(server: Any) -> None:
    assert server.get("/v2/health/live").json() == {"live": True}
    assert server.get("/v2/health/ready").json() == {"ready": True}
    assert "binary_tensor_data" in server.get("/v2").json()["extensions"]


def test_ready_models_are_listed(server: Any) -> None:
    models = server.get("/v2/models").json()["models"]

    assert models == sorted(models)
    assert "affine" in models
    assert "broken" not in models


@pytest.mark.parametrize(
    ("content", "ready_only"),
    [
        pytest.param(b"", False, id="no body"),
        pytest.param(b"{}", False, id="empty object"),
        pytest.param(b'{"ready": false}', False, id="all"),
        pytest.param(b'{"ready": true}', True, id="ready ones"),
    ],
)
def test_index_lists_models_with_their_state(content: bytes, *, ready_only: bool, server: Any) -> None:
    response = server.http.post(f"{server.url}/v2/repository/index", data=content)

    states = {entry["name"]: entry["state"] for entry in response.json()}
    assert response.status_code == 200
    assert states["affine"] == "READY"
    assert states.get("broken") == (None if ready_only else "UNAVAILABLE")


def test_broken_model_is_reported_and_stops_no_other(server: Any) -> None:
    """It stands in the log, in the index and in the metrics, and its own answers say what is wrong."""
    index = {entry["name"]: entry for entry in server.http.post(f"{server.url}/v2/repository/index").json()}
    answer = server.get("/v2/models/broken/ready")

    assert "is not an ONNX graph" in index["broken"]["reason"]
    assert "model broken 1 is unavailable" in server.log
    assert server.metric("axon_model_load_failures_total", model="broken") == 1
    assert server.metric("axon_model_state", model="broken", state="UNAVAILABLE") == 1
    assert server.metric("axon_model_state", model="affine", state="READY") == 1
    assert answer.status_code == 503
    assert "is not an ONNX graph" in answer.json()["error"]
    assert int(answer.headers["retry-after"]) >= 1


def test_metrics_count_requests_by_outcome(server: Any) -> None:
    tensor = {"name": "x", "datatype": "INT64", "shape": [3, 2], "data": [0] * 6}
    outcomes = ("ok", "invalid")
    before = {name: server.metric("axon_inference_requests_total", model="integers", outcome=name) for name in outcomes}
    rows = server.metric("axon_inference_rows_total", model="integers")

    server.infer("integers", {"inputs": [tensor]})
    server.infer("integers", {"inputs": [tensor | {"name": "z"}]})

    after = {name: server.metric("axon_inference_requests_total", model="integers", outcome=name) for name in outcomes}
    assert after == {name: count + 1 for name, count in before.items()}
    assert server.metric("axon_inference_rows_total", model="integers") == rows + 3


def test_metrics_never_hold_text_of_a_client(server: Any, good_request: dict[str, Any]) -> None:
    text = "mischief"
    server.infer(text, good_request)
    server.infer(f"affine/versions/{text}", good_request)
    server.infer("affine", {"id": text, "inputs": [good_request["inputs"][0] | {"name": text}]})
    server.infer("affine", {"inputs": [good_request["inputs"][0] | {"datatype": text}]})
    server.get(f"/{text}")
    server.http.request(text.upper(), server.url + "/v2")

    assert text not in server.get("/metrics").text.lower()


def test_metrics_are_prometheus_text(server: Any) -> None:
    response = server.get("/metrics")

    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'axon_server_info{version="' in response.text
