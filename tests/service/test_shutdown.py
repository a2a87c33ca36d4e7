"""The end of a server: told to stop, it leaves in order, with one process and with several."""

import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
import requests

AMPLE = 20.0
ROW = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
LONG = {"inputs": [{"name": "x", "shape": [600, 4], "datatype": "FP32", "data": [1, 2, 3, 4] * 600}]}

Run = Callable[..., AbstractContextManager[Any]]
PROCESSES = pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "two workers"])


@pytest.fixture
def models(tmp_path: Path, repository: Path) -> Path:
    """Make a repository with a model that takes its time."""
    shutil.copytree(repository / "slow", tmp_path / "models" / "slow")
    return tmp_path / "models"


def is_ready(server: Any) -> bool:
    return status(server, "/v2/health/ready") == 200


def begin_a_request(connection: socket.socket) -> None:
    """Send a request whose body does not come, and see that the server waits for it."""
    connection.sendall(b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
    assert connection.recv(1000).startswith(b"HTTP/1.1 100")


def status(server: Any, path: str) -> int:
    return requests.get(server.url + path, timeout=AMPLE).status_code


@PROCESSES
def test_server_that_stops_is_not_ready_at_once_but_accepts_for_a_while(
    models: Path, running: Run, options: tuple[str, ...]
) -> None:
    """As long as it takes a balancer to notice. Clients that keep a connection are asked to open another one elsewhere."""
    with running(models, *options, AXON_SHUTDOWN_DELAY="4") as server:
        server.until(lambda: is_ready(server))
        server.infer("slow", ROW)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: not is_ready(server))
        noticed = time.monotonic() - began
        answer = server.infer("slow", ROW)

        assert noticed < 3
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert status(server, "/v2/health/live") == 200
        assert server.ended() == 0
        assert 4 <= time.monotonic() - began < 15
        assert "Traceback" not in server.log


@PROCESSES
def test_what_is_in_flight_is_finished_and_nothing_new_is_accepted(models: Path, running: Run, options: tuple[str, ...]) -> None:
    with running(models, *options) as server:
        server.until(lambda: is_ready(server))
        answers: list[int] = []
        asking = threading.Thread(target=lambda: answers.append(server.infer("slow", LONG).status_code))
        asking.start()
        server.until(lambda: server.metric("axon_inference_busy_sessions", model="slow") > 0)
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: not server.accepts())

        assert server.ended() == 0
        asking.join(AMPLE)
        assert answers == [200]


@PROCESSES
def test_client_that_never_finishes_does_not_hold_up_the_end(models: Path, running: Run, options: tuple[str, ...]) -> None:
    """It is told that the server ends, which is no mistake of the server."""
    with running(models, *options, AXON_SHUTDOWN_TIMEOUT="1") as server:
        server.until(lambda: is_ready(server))
        with closing(socket.create_connection(server.address, timeout=AMPLE)) as connection:
            begin_a_request(connection)
            began = time.monotonic()

            assert server.stop() == 0
            assert time.monotonic() - began < 15
            answer = connection.recv(1000)

    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b'"code":"shutting_down"' in answer


@PROCESSES
def test_second_signal_hurries(models: Path, running: Run, options: tuple[str, ...]) -> None:
    """Neither the delay nor the request in flight is waited for."""
    with running(models, *options, AXON_SHUTDOWN_DELAY="20") as server:
        server.until(lambda: is_ready(server))
        with closing(socket.create_connection(server.address, timeout=AMPLE)) as connection:
            begin_a_request(connection)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.until(lambda: not is_ready(server))

            assert server.stop() == 0
            assert time.monotonic() - began < 15


def test_delay_must_fit_into_the_time_for_the_end(models: Path, launched: Run) -> None:
    with launched(models, AXON_SHUTDOWN_DELAY="30") as server:
        assert server.ended() == 1
        assert "axon: Setting 'shutdown_delay' is part of 'shutdown_timeout': it must be shorter." in server.log
