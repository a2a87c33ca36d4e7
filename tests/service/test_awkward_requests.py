"""Requests that cannot be served: each gets its status and a reason, and the server goes on."""

import http.client
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
INFER = "/v2/models/affine/infer"


@pytest.fixture(autouse=True)
def still_serves(server: Any, good_request: dict[str, Any]) -> Iterator[None]:
    """After each of these tests the server answers a good request."""
    yield
    assert server.process.poll() is None
    assert server.infer("affine", good_request).status_code == 200
    assert "Traceback" not in server.log


def assert_refused(response: Any, status: int) -> None:
    body = response.json()
    assert response.status_code == status, body
    assert response.headers["content-type"].startswith("application/json")
    assert isinstance(body["error"], str)
    assert body["error"]
    assert body["code"]


def body(**keys: Any) -> bytes:
    return json.dumps({"inputs": [TENSOR]} | keys).encode()


def tensor(**keys: Any) -> bytes:
    return body(inputs=[TENSOR | keys])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty body"),
        pytest.param(b"{", id="broken JSON"),
        pytest.param(b"[1]", id="no object"),
        pytest.param(b"\xff\xfe\x00", id="no UTF-8"),
        pytest.param(b"{}", id="no inputs"),
        pytest.param(body(inputs=[]), id="inputs empty"),
        pytest.param(tensor(name="z"), id="wrong name"),
        pytest.param(tensor(datatype="FP64"), id="wrong datatype"),
        pytest.param(tensor(datatype="FLOAT"), id="unknown datatype"),
        pytest.param(tensor(shape=[1, 5], data=[1, 2, 3, 4, 5]), id="wrong shape"),
        pytest.param(tensor(shape=[4]), id="wrong rank"),
        pytest.param(tensor(data=[1, 2, 3]), id="count below the shape"),
        pytest.param(tensor(data=[1, 2, 3, 4, 5]), id="count above the shape"),
        pytest.param(tensor(shape=[2**62, 4]), id="shape beyond any memory"),
        pytest.param(body().replace(b"4]}", b"NaN]}"), id="NaN"),
        pytest.param(tensor(data=[1, 2, 3, None]), id="null"),
        pytest.param(tensor(data=[1, 2, 3, "4"]), id="string in FP32"),
        pytest.param(tensor(data=[1, 2, 3, 1e39]), id="out of range"),
        pytest.param(tensor(data=[[1, 2], [3, 4]]), id="nested otherwise"),
        pytest.param(tensor(shape=[-1, 4]), id="negative shape"),
        pytest.param(tensor(shape=[0, 4], data=[]), id="batch of 0"),
        pytest.param(body(inputs=[TENSOR, TENSOR]), id="duplicate input"),
        pytest.param(body(inputs=[TENSOR, TENSOR | {"name": "z"}]), id="input too many"),
        pytest.param(body(outputs=[{"name": "z"}]), id="unknown output"),
        pytest.param(body(outputs=[{"name": "y"}, {"name": "y"}]), id="output twice"),
        pytest.param(body(id=1), id="id not a string"),
        pytest.param(body(parameters={"a": {}}), id="object parameter"),
        pytest.param(body(parameters={"a": None}), id="null parameter"),
        pytest.param(b"[" * 1_000_000, id="a million brackets"),
        pytest.param(random.Random(1).randbytes(10_000_000), id="10 MB of garbage"),  # noqa: S311 -- no secret
        pytest.param(b'{"inputs": "' + b"a" * 10_000_000 + b'"}', id="10 MB of text"),
    ],
)
def test_bad_body_is_a_400(content: bytes, server: Any) -> None:
    assert_refused(server.infer("affine", content), 400)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("POST", "/v2/models/unknown/infer", id="infer of an unknown model"),
        pytest.param("POST", "/v2/models/affine/versions/9/infer", id="infer of an unknown version"),
        pytest.param("POST", "/v2/models/affine/versions/latest/infer", id="version that is no number"),
        pytest.param("GET", "/v2/models/unknown", id="metadata of an unknown model"),
        pytest.param("GET", "/v2/models/affine/versions/9", id="metadata of an unknown version"),
        pytest.param("GET", "/v2/models/unknown/ready", id="readiness of an unknown model"),
        pytest.param("GET", "/v2/models/affine/versions/9/ready", id="readiness of an unknown version"),
        pytest.param("GET", "/v2/models/..%2f..%2fetc%2fpasswd", id="path out of the repository"),
        pytest.param("GET", "/v2/models/%00", id="zero byte as a name"),
        pytest.param("GET", "/v2/models/" + "a" * 5000, id="name of 5000 characters"),
        pytest.param("GET", "/v2/models/affine/nothing", id="unknown action"),
        pytest.param("GET", "/v2/models/affine/versions", id="versions without one"),
        pytest.param("GET", "/v2/modelsx", id="path that only begins like another"),
        pytest.param("GET", "/", id="root"),
        pytest.param("GET", "/nothing", id="unknown path"),
        pytest.param("POST", "/v1/models/affine:explain", id="verb that is not there"),
        pytest.param("POST", "/models/affine", id="call of a model without what is to be done"),
        pytest.param("OPTIONS", "/v2/models/affine/nothing", id="OPTIONS of nothing"),
    ],
)
def test_what_is_not_there_is_a_404(method: str, path: str, server: Any, good_request: dict[str, Any]) -> None:
    response = server.http.request(method, server.url + path, json=good_request if method == "POST" else None)

    assert_refused(response, 404)
    assert len(response.content) < 1000


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        pytest.param("GET", INFER, "POST", id="GET infer"),
        pytest.param("PUT", INFER, "POST", id="PUT infer"),
        pytest.param("POST", "/v2/models/affine", "GET", id="POST model metadata"),
        pytest.param("POST", "/v2/models/affine/ready", "GET", id="POST model ready"),
        pytest.param("DELETE", "/v2/models", "GET", id="DELETE models"),
        pytest.param("POST", "/v2/health/live", "GET", id="POST live"),
        pytest.param("DELETE", "/v2", "GET", id="DELETE server metadata"),
        pytest.param("GET", "/v2/repository/index", "POST", id="GET index"),
        pytest.param("POST", "/metrics", "GET", id="POST metrics"),
    ],
)
def test_wrong_method_is_a_405_that_names_the_right_one(method: str, path: str, allowed: str, server: Any) -> None:
    response = server.http.request(method, server.url + path)

    assert_refused(response, 405)
    assert allowed in response.headers["allow"].replace(" ", "").split(",")
    assert allowed in response.json()["error"]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        pytest.param("/v2", "GET", id="of the framework"),
        pytest.param("/v2/repository/index", "POST", id="of the framework, by POST"),
        pytest.param("/metrics", "GET", id="metrics"),
        pytest.param("/v2/models", "GET", id="of the models"),
        pytest.param("/v2/models/stats", "GET", id="statistics"),
        pytest.param("/v2/models/affine", "GET", id="of a model"),
        pytest.param(INFER, "POST", id="infer"),
        pytest.param("/v1/models/affine:predict", "POST", id="predict of TensorFlow Serving"),
        pytest.param("/models/affine/predict", "POST", id="predict"),
    ],
)
def test_every_path_says_which_methods_it_has(path: str, method: str, server: Any) -> None:
    """By OPTIONS, and in the 405 of another method: the same list on all paths (RFC 9110 9.3.7, 15.5.6)."""
    asked = server.http.options(server.url + path)
    wrong = server.http.delete(server.url + path)

    assert (asked.status_code, asked.content) == (204, b"")
    others = ("HEAD", "OPTIONS") if method == "GET" else ("OPTIONS",)
    assert {asked.headers["allow"], wrong.headers["allow"]} == {", ".join(sorted((method, *others)))}
    assert wrong.json()["error"] == f"DELETE is not allowed on {path}. Use {method}."


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "g" * 1000])
def test_encoding_that_is_not_read_is_a_415_that_names_what_is(encoding: str, server: Any) -> None:
    response = server.infer("affine", body(), headers={"Content-Encoding": encoding})

    assert_refused(response, 415)
    assert response.headers["accept-encoding"] == "gzip, deflate"


def test_identity_encoding_is_none(server: Any) -> None:
    assert server.infer("affine", body(), headers={"Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("size", ["-1", "1.5", "x", "", "99999", "9" * 5000, "10"])
def test_wrong_size_of_the_json_is_a_400(size: str, server: Any) -> None:
    assert_refused(server.infer("affine", body(), headers={"Inference-Header-Content-Length": size}), 400)


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b'{"ready": 1}', b"\xff"])
def test_bad_index_request_is_a_400(content: bytes, server: Any) -> None:
    assert_refused(server.http.post(f"{server.url}/v2/repository/index", data=content), 400)


def answer(connection: http.client.HTTPConnection) -> tuple[int, dict[str, str]]:
    with connection.getresponse() as response:
        content: dict[str, str] = json.loads(response.read())
        return response.status, content


@pytest.fixture
def connection(server: Any) -> Iterator[http.client.HTTPConnection]:
    """Give a plain connection, for requests that a proper client does not send."""
    plain = http.client.HTTPConnection(*server.address, timeout=60)
    yield plain
    plain.close()


def test_body_that_says_it_is_too_large_is_refused_unread(connection: http.client.HTTPConnection, body_limit: int) -> None:
    connection.putrequest("POST", INFER)
    connection.putheader("Content-Length", str(body_limit + 1))
    connection.endheaders()

    status, content = answer(connection)

    assert status == 413
    assert f"larger than {body_limit} bytes" in content["error"]


def test_chunked_body_that_is_too_large_is_refused(connection: http.client.HTTPConnection, body_limit: int) -> None:
    connection.putrequest("POST", INFER)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    chunk = b" " * 100_000
    for _ in range(body_limit // len(chunk) + 1):
        connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    status, content = answer(connection)

    assert status == 413
    assert content["code"] == "payload_too_large"


def test_body_of_exactly_the_limit_is_read(server: Any, body_limit: int) -> None:
    assert server.infer("affine", body().ljust(body_limit)).status_code == 200


def test_index_request_that_is_too_large_is_refused(connection: http.client.HTTPConnection, body_limit: int) -> None:
    connection.putrequest("POST", "/v2/repository/index")
    connection.putheader("Content-Length", str(body_limit + 1))
    connection.endheaders()

    status, content = answer(connection)

    assert status == 413
    assert content["error"]


def test_chunked_body_is_read(server: Any) -> None:
    content = body()

    response = server.http.post(server.url + INFER, data=iter([content[:10], content[10:]]))

    assert response.status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing sent"),
        pytest.param(b"rubbish\r\n\r\n", id="no HTTP"),
        pytest.param(b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{", id="body cut off"),
    ],
)
def test_client_that_hangs_up_harms_nobody(content: bytes, server: Any) -> None:
    with socket.create_connection(server.address, timeout=60) as plain:
        plain.sendall(content)


def test_connection_is_kept_after_an_error(server: Any) -> None:
    response = server.infer("affine", b"{")

    assert response.headers.get("connection", "keep-alive") == "keep-alive"


def test_time_that_is_none_is_counted_as_invalid(server: Any, good_request: dict[str, Any]) -> None:
    before = server.metric("axon_inference_requests_total", model="affine", outcome="invalid")

    response = server.http.post(server.url + INFER, json=good_request, headers={"X-Request-Timeout-Ms": "soon"})

    assert_refused(response, 400)
    assert server.metric("axon_inference_requests_total", model="affine", outcome="invalid") == before + 1
