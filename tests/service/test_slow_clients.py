"""Clients that take their time, ask for too much, or leave in odd ways: each is dealt with alone, and the others never notice."""

import json
import re
import select
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

SECONDS = 0.5  # the time-outs of the server here
AMPLE = 20.0
LIMIT = 40  # connections


@pytest.fixture(scope="module")
def impatient(
    tmp_path_factory: pytest.TempPathFactory, repository: Path, running: Callable[..., AbstractContextManager[Any]]
) -> Iterator[Any]:
    """Run a server with short time-outs and room for few connections."""
    models = tmp_path_factory.mktemp("models")
    for name in ("affine", "slow"):
        shutil.copytree(repository / name, models / name)
    timeouts = {f"AXON_{name}_TIMEOUT": str(SECONDS) for name in ("HEADER", "BODY", "WRITE", "KEEP_ALIVE")}
    with running(models, AXON_MAX_CONNECTIONS=str(LIMIT), **timeouts) as server:
        server.http.headers["Connection"] = "close"  # one that is kept may be closed in the moment in which it is used again
        yield server


def connect(server: Any) -> socket.socket:
    return socket.create_connection(server.address, timeout=AMPLE)


def request(model: str, rows: int = 1, *, version: str = "1.1", headers: str = "") -> bytes:
    body = json.dumps({"inputs": [{"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0] * rows}]})
    return f"POST /v2/models/{model}/infer HTTP/{version}\r\nHost: a\r\nContent-Length: {len(body)}\r\n{headers}\r\n{body}".encode()


def received(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    parts = []
    while part := connection.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def test_connection_without_a_request_is_closed_in_silence(impatient: Any) -> None:
    with closing(connect(impatient)) as connection:
        assert received(connection) == b""


def test_head_that_does_not_end_gets_a_408(impatient: Any) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: a\r\n")
        answer = received(connection)

    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["code"] == "request_timeout"


def test_head_that_drips_gets_a_408(impatient: Any) -> None:
    """A byte now and then does not buy more time."""
    with closing(connect(impatient)) as connection:
        connection.settimeout(0.1)
        answer = b""
        began = time.monotonic()
        connection.sendall(b"GET /v2 HTTP/1.1\r\n")
        while not answer and time.monotonic() - began < AMPLE:
            try:
                connection.sendall(b"x: y\r\n")
                answer = connection.recv(1000)
            except TimeoutError:
                pass

    assert answer.startswith(b"HTTP/1.1 408")


def test_body_that_stops_coming_gets_a_408_and_is_no_failure(impatient: Any) -> None:
    whole = request("affine")
    with closing(connect(impatient)) as connection:
        connection.sendall(whole[:-10])
        answer = received(connection)

    assert answer.startswith(b"HTTP/1.1 408")
    assert "Traceback" not in impatient.log


def test_body_that_keeps_coming_may_take_longer(impatient: Any) -> None:
    whole = request("affine", rows=4000)
    size = len(whole) // 15
    with closing(connect(impatient)) as connection:
        for start in range(0, len(whole), size):
            connection.sendall(whole[start : start + size])
            time.sleep(0.1)

        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_idle_connection_is_closed_after_its_answer(impatient: Any) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(request("affine"))
        answer = received(connection)

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" not in answer.lower()


def test_client_that_does_not_read_is_let_go(impatient: Any) -> None:
    """Its answers must not be held for ever. Its buffers are small, so that much of an answer stays with the server."""
    rows, requests = 100_000, 4
    connection = socket.socket()
    with closing(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(impatient.address)
        with suppress(ConnectionError):  # it may be let go before all is sent
            for _ in range(requests):
                connection.sendall(request("affine", rows=rows))
        assert select.select([connection], [], [], AMPLE)[0], "no answer began"
        deadline = time.monotonic() + AMPLE
        while held(impatient, connection) and time.monotonic() < deadline:
            time.sleep(0.1)

        assert not held(impatient, connection)
        connection.settimeout(AMPLE)
        answers = bytearray()
        with suppress(ConnectionError):
            while part := connection.recv(1 << 20):
                answers += part
    assert answers.startswith(b"HTTP/1.1 200 OK")
    assert answers.count(b"HTTP/1.1 200 OK") < requests or answers.count(b",") < requests * rows, "all of it came"


def held(server: Any, connection: socket.socket) -> bool:
    """Whether the server still has its end of a connection."""
    here, there = (f":{port:04X}" for port in (server.address[1], connection.getsockname()[1]))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(here) and line[2].endswith(there)}
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            if str(entry.readlink()) in inodes:
                return True
    return False


def test_half_closed_client_gets_its_answer(impatient: Any) -> None:
    """`nc` and scripts like it send all, say that there is no more, and read."""
    with closing(connect(impatient)) as connection:
        connection.sendall(request("slow"))
        connection.shutdown(socket.SHUT_WR)
        answer = received(connection)

    assert re.fullmatch(rb"(HTTP/1.1 100 Continue\r\n\r\n)?HTTP/1.1 200 OK\r\n.*\r\nconnection: close\r\n.*", answer, re.DOTALL)
    assert json.loads(answer.rsplit(b"\r\n\r\n", 1)[1])["outputs"][0]["data"] == [1, 2, 3, 4]


def test_half_closed_client_of_http_1_0_gets_no_interim_answer(impatient: Any) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(request("slow", version="1.0"))
        connection.shutdown(socket.SHUT_WR)

        assert received(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_requests_sent_ahead_by_a_half_closed_client_are_all_answered(impatient: Any) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(request("affine") * 5)
        connection.shutdown(socket.SHUT_WR)

        assert received(connection).count(b"HTTP/1.1 200 OK") == 5


def test_client_that_left_is_told_from_a_half_closed_one(impatient: Any) -> None:
    """What it asked for is not done: its request counts as cancelled, though another one runs before it."""
    before = impatient.metric("axon_inference_requests_total", model="slow", outcome="cancelled")
    with closing(connect(impatient)) as busy, closing(connect(impatient)) as leaving:
        busy.sendall(request("slow", rows=2000))
        time.sleep(0.2)
        leaving.sendall(request("slow"))
        time.sleep(0.05)
        leaving.close()
        assert b"HTTP/1.1 200 OK" in busy.recv(100)

    assert impatient.metric("axon_inference_requests_total", model="slow", outcome="cancelled") == before + 1


def test_half_a_request_and_no_more_is_no_request(impatient: Any) -> None:
    """Who left is no client that sent something wrong."""
    before = impatient.metric("axon_inference_requests_total", model="affine", outcome="cancelled", reason="")
    invalid = impatient.metric("axon_inference_requests_total", model="affine", outcome="invalid")
    with closing(connect(impatient)) as connection:
        connection.sendall(request("affine")[:-10])
        connection.shutdown(socket.SHUT_WR)

        assert received(connection) == b""
    impatient.until(
        lambda: impatient.metric("axon_inference_requests_total", model="affine", outcome="cancelled", reason="") > before
    )
    assert impatient.metric("axon_inference_requests_total", model="affine", outcome="invalid") == invalid
    assert "Traceback" not in impatient.log


def test_idle_connections_make_room_for_new_ones(impatient: Any) -> None:
    """A flood of connections that ask for nothing keeps nobody out."""
    with ExitStack() as stack:
        for _ in range(4 * LIMIT):
            stack.enter_context(closing(connect(impatient)))
            assert impatient.get("/v2/health/live").status_code == 200


def test_connection_too_many_gets_a_503_when_all_others_are_busy(impatient: Any) -> None:
    """Busy here is a body of which some is missing."""
    before = impatient.metric("axon_http_refusals_total", reason="connections")
    with ExitStack() as stack:
        for _ in range(LIMIT):
            connection = stack.enter_context(closing(connect(impatient)))
            connection.sendall(request("affine")[:-1])
        time.sleep(0.2)
        late = stack.enter_context(closing(connect(impatient)))
        late.sendall(request("affine"))
        answer = received(late)

    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nretry-after: 1\r\n" in answer
    assert impatient.get("/v2/health/live").status_code == 200
    assert impatient.metric("axon_http_refusals_total", reason="connections") >= before + 1


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(b"no HTTP at all\r\n\r\n", "malformed", id="no HTTP"),
        pytest.param(b"GET /v2 HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, "head", id="too large a head"),
        pytest.param(b"GET /v2 HTTP/1.1\r\nHost: a\r\n", "slow", id="a head that does not end"),
        pytest.param(request("affine")[:-1], "slow", id="a body that does not end"),
    ],
)
def test_what_reaches_no_route_is_counted(impatient: Any, sent: bytes, reason: str) -> None:
    before = impatient.metric("axon_http_refusals_total", reason=reason)
    with closing(connect(impatient)) as connection:
        connection.sendall(sent)
        with suppress(ConnectionError):  # the server may not read all of it
            received(connection)

    assert impatient.metric("axon_http_refusals_total", reason=reason) > before  # clients of tests before may be counted as late


def test_connections_are_counted(server: Any) -> None:
    """Beside these there may be some that tests before have left."""
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(closing(connect(server)))
        server.until(lambda: server.metric("axon_http_connections") >= 20)
        most = server.metric("axon_http_connections")

    server.until(lambda: server.metric("axon_http_connections") <= most - 15)


def test_client_that_asks_before_it_sends_a_body_is_told_to_go_on(impatient: Any) -> None:
    head, body = request("affine", headers="Expect: 100-continue\r\n").split(b"\r\n\r\n")
    with closing(connect(impatient)) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)

        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_client_that_asks_before_it_sends_too_large_a_body_is_told_not_to(impatient: Any) -> None:
    head = b"POST /v2/models/affine/infer HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n"
    with closing(connect(impatient)) as connection:
        connection.sendall(head)

        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("size", [1000, 1 << 15, 1 << 20])
def test_no_request_can_follow_a_body_that_was_asked_about_and_refused(impatient: Any, size: int) -> None:
    head = f"POST /v2/models/nothing/infer HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
    with closing(connect(impatient)) as connection:
        connection.sendall(head.encode())
        answer = received(connection)

    assert answer.startswith(b"HTTP/1.1 404")
    assert b"\r\nconnection: close\r\n" in answer


def test_http_1_0_is_answered_and_closed(impatient: Any) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(request("affine", version="1.0"))
        answer = received(connection)

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"transfer-encoding" not in answer.lower()


def test_requests_sent_ahead_are_answered_in_their_order(impatient: Any) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(request("affine") + b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n" + request("slow"))
        answers = received(connection).split(b"HTTP/1.1 200 OK")

    assert [b'"affine"' in answers[1], b'"live"' in answers[2], b'"slow"' in answers[3]] == [True] * 3


def test_what_is_no_http_gets_an_error_like_all_others(impatient: Any) -> None:
    with closing(connect(impatient)) as connection:
        connection.sendall(b"\x16\x03\x01 this is TLS perhaps\r\n\r\n")
        answer = received(connection)

    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["code"] == "bad_request"
