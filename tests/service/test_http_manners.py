"""What arrives at an open port: odd heads, offers to upgrade, requests sent ahead and then abandoned."""

import json
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.repository.configuration import ModelConfiguration

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()
HEAD = b"POST /v2/models/affine/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % len(BODY)


@pytest.fixture
def connect(server: Any) -> Callable[[], socket.socket]:
    """Return a function that opens a connection."""
    return lambda: socket.create_connection(server.address, timeout=30)


def received(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade", b"UPGRADE"])
def test_offered_upgrade_is_ignored(connect: Callable[[], socket.socket], name: bytes) -> None:
    offer = name + b": h2c\r\nConnection: close, Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    with closing(connect()) as connection:
        connection.sendall(HEAD + offer + BODY)

        assert received(connection).startswith(b"HTTP/1.1 200 OK")


def test_head_without_end_is_refused(connect: Callable[[], socket.socket], server: Any) -> None:
    with closing(connect()) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: a\r\n")
        try:
            for _ in range(100):
                connection.sendall(b"X-Header: " + b"a" * 1000 + b"\r\n")
            answer = received(connection)
        except OSError:  # the server had closed before all was sent
            answer = b"HTTP/1.1 431"

        assert answer.startswith(b"HTTP/1.1 431")
    assert server.get("/v2/health/live").status_code == 200


def test_clients_who_leave_pipelined_requests_behind_leave_no_traceback(connect: Callable[[], socket.socket], server: Any) -> None:
    before = len(server.log)
    for _ in range(20):
        with closing(connect()) as connection:
            connection.sendall((HEAD + b"\r\n" + BODY) * 5)

    assert server.infer("affine", BODY).status_code == 200
    assert "Traceback" not in server.log[before:]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/health/live",
        "/v2/health/ready",
        "/v2",
        "/v2/models",
        "/v2/models/affine",
        "/v1/models/affine",
        "/openapi.json",
        "/docs",
    ],
)
def test_head_gets_the_head_of_a_get(server: Any, path: str) -> None:
    """RFC 9110 9.1: every server has it. Load balancers ask with it, and people by `curl -I`."""
    answer, whole = server.http.head(server.url + path), server.get(path)

    assert answer.status_code == whole.status_code == 200
    assert answer.content == b""
    for name in ("content-length", "content-type"):
        assert answer.headers[name] == whole.headers[name]


def test_long_version_number_is_unknown(server: Any) -> None:
    assert server.get("/v2/models/affine/versions/" + "9" * 5000).status_code == 404


@pytest.mark.parametrize("shape", [[0, 2**63 - 1], [2**63 - 1, 0], [0, 2**62, 2**62]])
def test_shape_beyond_any_array_is_a_400(server: Any, shape: list[int]) -> None:
    tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": []}

    assert server.infer("affine", {"inputs": [tensor]}).status_code == 400


def test_deeply_nested_index_request_is_a_400(server: Any) -> None:
    answer = server.http.post(server.url + "/v2/repository/index", data=b'{"a":' * 100_000)

    assert answer.status_code == 400


def test_large_tensors_cross_the_wire(server: Any) -> None:
    """So large that they are decoded and encoded beside the event loop."""
    rows = [[float(row), 1.0, 2.0, 3.0] for row in range(20_000)]
    tensor = {"name": "x", "shape": [len(rows), 4], "datatype": "FP32", "data": rows}
    answer = server.infer("affine", {"inputs": [tensor]})

    assert answer.status_code == 200
    assert answer.json()["outputs"][0]["shape"] == [len(rows), 3]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("intra_op_threads = 100000", "intra_op_threads"),
        ("[batching]\nmax_queue_delay = inf", "max_queue_delay"),
        ("[batching]\nmax_batch_size = 99999999999", "max_batch_size"),
    ],
)
def test_configuration_that_would_take_the_server_down_is_refused(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "model.toml").write_text(content)

    with pytest.raises(ConfigurationError, match=named):
        ModelConfiguration.read(tmp_path)


@pytest.mark.parametrize(
    "content", [b"rubbish\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v2 HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_no_http_gets_an_error_like_any_other(connect: Callable[[], socket.socket], content: bytes) -> None:
    with closing(connect()) as connection:
        connection.sendall(content)
        head, _, body = received(connection).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert json.loads(body)["code"] == "bad_request"
    assert f"x-request-id: {json.loads(body)['request_id']}".encode() in head
