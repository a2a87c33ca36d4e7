"""The statuses of every way to go wrong, one row each: what a client of the protocol may rely on."""

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TENSOR: dict[str, Any] = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
BINARY = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
INFER = "/v2/models/affine/infer"
LOAD = "/v2/repository/models/{}/load"
UNLOAD = "/v2/repository/models/{}/unload"


@dataclass(frozen=True)
class Call:
    """One call and the status that it gets."""

    status: int
    body: bytes | dict[str, Any] | None = None
    path: str = INFER
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def tensor(**keys: Any) -> dict[str, Any]:
    return {"inputs": [TENSOR | keys]}


def binary(blob: bytes, **keys: Any) -> Call:
    head = json.dumps({"inputs": [BINARY | keys]}).encode()
    return Call(400, head + blob, headers={"Inference-Header-Content-Length": str(len(head))})


ROWS = {
    "malformed JSON": Call(400, b"{"),
    "empty body": Call(400, b""),
    "no inputs": Call(400, {}),
    "inputs empty": Call(400, {"inputs": []}),
    "unknown input name": Call(400, tensor(name="z")),
    "wrong datatype": Call(400, tensor(datatype="FP64")),
    "shape that the model has not": Call(400, tensor(shape=[1, 2], data=[1, 2])),
    "rank that the model has not": Call(400, tensor(shape=[4])),
    "unknown output": Call(400, tensor() | {"outputs": [{"name": "z"}]}),
    "duplicate input": Call(400, {"inputs": [TENSOR, TENSOR]}),
    "unknown datatype": Call(400, tensor(datatype="FLOAT")),
    "more values than the shape": Call(400, tensor(data=[1, 2, 3, 4, 5])),
    "fewer values than the shape": Call(400, tensor(data=[1, 2, 3])),
    "string in FP32": Call(400, tensor(data=[1, 2, 3, "4"])),
    "null in FP32": Call(400, tensor(data=[1, 2, 3, None])),
    "negative shape": Call(400, tensor(shape=[-1, 4])),
    "batch of 0": Call(400, tensor(shape=[0, 4], data=[])),
    "id not a string": Call(400, tensor() | {"id": 7}),
    "object as a parameter": Call(400, tensor() | {"parameters": {"a": {}}}),
    "null as a parameter": Call(400, tensor() | {"parameters": {"a": None}}),
    "reserved parameter": Call(400, tensor() | {"parameters": {"triton_x": 1}}),
    "timeout not a number": Call(400, tensor() | {"parameters": {"timeout": "soon"}}),
    "timeout header not a number": Call(400, tensor(), headers={"X-Request-Timeout-Ms": "soon"}),
    "binary data too short": binary(b"\0" * 15),
    "binary data too long": binary(b"\0" * 17),
    "binary size that differs from the shape": binary(b"\0" * 12, parameters={"binary_data_size": 12}),
    "both data and binary data": binary(b"\0" * 16, data=[1, 2, 3, 4]),
    "size of the JSON beyond the body": Call(400, tensor(), headers={"Inference-Header-Content-Length": "1000"}),
    "negative size of the JSON": Call(400, tensor(), headers={"Inference-Header-Content-Length": "-1"}),
    "raw bytes that do not fit": Call(400, b"\0" * 15, headers={"Inference-Header-Content-Length": "0"}),
    "raw bytes for two inputs": Call(400, b"\0", "/v2/models/summed/infer", headers={"Inference-Header-Content-Length": "0"}),
    "gzip that is none": Call(400, b"{}", headers={"Content-Encoding": "gzip"}),
    "unknown model": Call(404, tensor(), "/v2/models/unknown/infer"),
    "unknown version": Call(404, tensor(), "/v2/models/affine/versions/9/infer"),
    "version that is no number": Call(404, tensor(), "/v2/models/affine/versions/latest/infer"),
    "metadata of an unknown model": Call(404, None, "/v2/models/unknown", "GET"),
    "metadata of an unknown version": Call(404, None, "/v2/models/affine/versions/9", "GET"),
    "configuration of an unknown model": Call(404, None, "/v2/models/unknown/config", "GET"),
    "statistics of an unknown model": Call(404, None, "/v2/models/unknown/stats", "GET"),
    "statistics of an unknown version": Call(404, None, "/v2/models/affine/versions/9/stats", "GET"),
    "unknown model on ready": Call(404, None, "/v2/models/unknown/ready", "GET"),
    "unknown version on ready": Call(404, None, "/v2/models/affine/versions/9/ready", "GET"),
    "load of an unknown model": Call(404, None, LOAD.format("unknown")),
    "unload of an unknown model": Call(404, None, UNLOAD.format("unknown")),
    "unknown path": Call(404, None, "/v2/unknown", "GET"),
    "unknown action": Call(404, None, "/v2/models/affine/unknown", "GET"),
    "GET of infer": Call(405, None, INFER, "GET"),
    "HEAD of infer": Call(405, None, INFER, "HEAD"),
    "POST of metadata": Call(405, None, "/v2/models/affine"),
    "POST of statistics": Call(405, None, "/v2/models/stats"),
    "DELETE of the server": Call(405, None, "/v2", "DELETE"),
    "GET of the index": Call(405, None, "/v2/repository/index", "GET"),
    "body beyond the limit": Call(413, b" " * 1_000_001),
    "compressed in a way that is not read": Call(415, tensor(), headers={"Content-Encoding": "br"}),
    "model that fails": Call(
        500, {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT64", "data": [9]}]}, "/v2/models/lookup/infer"
    ),
    "load that fails": Call(500, None, LOAD.format("broken")),
    "model that could not be loaded": Call(503, tensor(), "/v2/models/broken/infer"),
    "deadline passed": Call(504, tensor(), "/v2/models/slow/infer", headers={"X-Request-Timeout-Ms": "0.001"}),
    "timeout passed": Call(504, tensor() | {"parameters": {"timeout": 1}}, "/v2/models/slow/infer"),
}
FINE = {
    "unknown keys": Call(200, tensor(surprise=1) | {"surprise": []}),
    "integers for floats": Call(200, tensor(data=[1, 2, 3, 4])),
    "content type of something else": Call(200, json.dumps(tensor()).encode(), headers={"Content-Type": "text/plain"}),
    "version with zeros in front": Call(200, tensor(), "/v2/models/affine/versions/0001/infer"),
    "name in percent encoding": Call(200, tensor(), "/v2/models/%61ffine/infer"),
    "null for the wish of an index": Call(200, {"ready": None}, "/v2/repository/index"),
    "null for the parameters of a load": Call(200, {"parameters": None}, LOAD.format("affine")),
    "OPTIONS of infer": Call(204, None, INFER, "OPTIONS"),
    "fractional parameter": Call(200, tensor() | {"parameters": {"mine": 0.5}}),
    "outputs empty": Call(200, tensor() | {"outputs": []}),
    "raw bytes": Call(200, b"\0" * 16, headers={"Inference-Header-Content-Length": "0"}),
    "time enough": Call(200, tensor() | {"parameters": {"timeout": 60_000_000}}, headers={"X-Request-Timeout-Ms": "60000.0"}),
    "ready": Call(200, None, "/v2/models/affine/versions/01/ready", "GET"),
    "live, asked with HEAD": Call(200, None, "/v2/health/live", "HEAD"),
}


def sent(server: Any, call: Call) -> Any:
    content = {"json": call.body} if isinstance(call.body, dict) else {"data": call.body}
    return server.http.request(call.method, server.url + call.path, headers=call.headers, timeout=60, **content)


@pytest.mark.parametrize("row", ROWS)
def test_what_goes_wrong_has_its_status_and_says_why(row: str, conformance_server: Any) -> None:
    call = ROWS[row]

    response = sent(conformance_server, call)

    assert response.status_code == call.status, response.text
    assert response.headers["x-request-id"]
    if call.method != "HEAD":
        body = response.json()
        assert response.headers["content-type"].startswith("application/json")
        assert body["error"]
        assert body["code"]
        assert body["request_id"] == response.headers["x-request-id"]
    if call.status == 405:
        assert response.headers["allow"]
    if call.status == 415:
        assert response.headers["accept-encoding"] == "gzip, deflate"
    if call.status == 503:
        assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("row", FINE)
def test_what_is_unusual_is_fine(row: str, conformance_server: Any) -> None:
    response = sent(conformance_server, FINE[row])

    assert response.status_code == FINE[row].status, response.text


def test_server_without_control_by_calls_refuses_them(
    running: Callable[..., AbstractContextManager[Any]], conformance_repository: Path
) -> None:
    with running(conformance_repository) as server:
        for path in (LOAD.format("affine"), UNLOAD.format("affine"), LOAD.format("unknown")):
            response = sent(server, Call(403, None, path))

            assert response.status_code == 403
            assert "--model-control explicit" in response.json()["error"]


def test_full_queue_is_a_503_that_says_when_to_come_again(
    running: Callable[..., AbstractContextManager[Any]], graphs: Any, save: Callable[..., Path], tmp_path: Path
) -> None:
    save(graphs.slow(), tmp_path / "slow" / "1")
    (tmp_path / "slow" / "model.toml").write_text("[batching]\nmax_queue_size = 1\nmax_batch_size = 1\n")
    statuses = []
    with running(tmp_path) as server:

        def call() -> None:
            response = sent(server, Call(200, tensor(), "/v2/models/slow/infer"))
            statuses.append((response.status_code, response.headers.get("retry-after")))

        threads = [threading.Thread(target=call) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert {status for status, _ in statuses} == {200, 503}
    assert all(retry is not None and int(retry) >= 1 for status, retry in statuses if status == 503)
