"""From the start of the server process to its end."""

import asyncio
import http.client
import json
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import requests

from service.app import create_app
from service.inference.loading import Loader
from service.lifecycle.lifecycle import Lifecycle
from service.registry import Registry
from service.repository.source import Directory
from service.settings import Settings

Launch = Callable[..., AbstractContextManager[Any]]


@pytest.fixture
def one_model(tmp_path: Path, graphs: Any, save: Callable[..., Path]) -> Path:
    """Build a repository of the model `affine`."""
    save(graphs.affine(), tmp_path / "models" / "affine" / "1")
    return tmp_path / "models"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_server_after_the_requests_in_flight(
    number: signal.Signals, running: Launch, one_model: Path, good_request: dict[str, Any]
) -> None:
    """The request is one whose body the server waits for when the signal comes."""
    body = json.dumps(good_request).encode()
    with running(one_model) as server:
        connection = http.client.HTTPConnection(*server.address, timeout=60)
        connection.putrequest("POST", "/v2/models/affine/infer")
        connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        interim = connection.sock.recv(1000)
        server.process.send_signal(number)
        server.until(lambda: not server.accepts())
        connection.send(body)
        with connection.getresponse() as response:
            status = response.status
            answer = json.loads(response.read())
        connection.close()
        exit_status = server.ended()

        assert interim.startswith(b"HTTP/1.1 100")
        assert status == 200
        assert answer["outputs"][0]["shape"] == [1, 3]
        assert exit_status == 0
        assert "Traceback" not in server.log
        assert server.log.rstrip().endswith("stopped")


def test_idle_server_ends_at_once(running: Launch, one_model: Path) -> None:
    with running(one_model) as server:
        assert server.stop(signal.SIGTERM) == 0
        assert "Traceback" not in server.log


def test_signal_while_models_load_ends_the_server(launched: Launch, repository: Path) -> None:
    with launched(repository) as server:
        server.wait_for("listens on")
        exit_status = server.stop(signal.SIGTERM)

        assert exit_status in {0, -signal.SIGTERM}  # the latter before the handler is there
        assert "Traceback" not in server.log


def test_repository_without_a_usable_model_is_live_and_not_ready(running: Launch, tmp_path: Path) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"")
    (tmp_path / "empty").mkdir()

    with running(tmp_path) as server:
        live, ready = server.get("/v2/health/live"), server.get("/v2/health/ready")
        index = {entry["name"]: entry for entry in server.http.post(f"{server.url}/v2/repository/index").json()}

        assert live.status_code == 200
        assert ready.status_code == 503
        assert index["broken"]["state"] == index["empty"]["state"] == "UNAVAILABLE"
        assert "holds no version" in index["empty"]["reason"]
        assert server.stop() == 0


def test_model_with_a_wrong_configuration_is_unavailable(running: Launch, one_model: Path) -> None:
    (one_model / "affine" / "model.toml").write_text("[batching]\nmax_batch = 8", encoding="utf-8")

    with running(one_model) as server:
        (entry,) = server.http.post(f"{server.url}/v2/repository/index").json()

        assert entry["state"] == "UNAVAILABLE"
        assert "unknown field `max_batch`" in entry["reason"]


def test_bare_graph_is_served_under_a_given_name(
    running: Launch, tmp_path: Path, graphs: Any, save: Callable[..., Path], good_request: dict[str, Any]
) -> None:
    save(graphs.affine(), tmp_path)

    with running(tmp_path, "--model-name", "given") as server:
        assert server.infer("given", good_request).status_code == 200


def test_requests_that_find_room_wait_for_their_turn(server: Any, good_request: dict[str, Any]) -> None:
    """The model works on the first request when the others arrive."""
    connections = [http.client.HTTPConnection(*server.address, timeout=60) for _ in range(16)]
    for connection in connections:
        connection.request("POST", "/v2/models/slow/infer", json.dumps(good_request))
    statuses = [connection.getresponse().status for connection in connections]
    for connection in connections:
        connection.close()

    assert statuses == [200] * 16


def test_full_queue_is_a_503_with_retry_after(
    running: Launch, tmp_path: Path, graphs: Any, save: Callable[..., Path], good_request: dict[str, Any]
) -> None:
    """A request of more rows than may wait is taken if nothing else waits, and leaves no room as long as it takes."""
    save(graphs.slow(), tmp_path / "slow" / "1")
    (tmp_path / "slow" / "model.toml").write_text("[batching]\nmax_queue_size = 1\nmax_batch_size = 1", encoding="utf-8")
    many = {"inputs": [{"name": "x", "shape": [2000, 4], "datatype": "FP32", "data": [1, 2, 3, 4] * 2000}]}
    with running(tmp_path) as server:
        filling = http.client.HTTPConnection(*server.address, timeout=60)
        filling.request("POST", "/v2/models/slow/infer", json.dumps(many))
        server.until(lambda: server.metric("axon_inference_pending_rows", model="slow") > 1000)
        refused = server.infer("slow", good_request)
        filling.close()

        assert refused.status_code == 503
        assert refused.json()["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        assert server.metric("axon_inference_requests_total", model="slow", outcome="rejected") == 1


def one_line(server: Any) -> str:
    """Return the only line that the process has written, after its end with status 1."""
    assert server.ended() == 1
    (line,) = server.log.splitlines()
    assert line.startswith("axon: ")
    return str(line)


@pytest.mark.parametrize("options", [pytest.param((), id="alone"), pytest.param(("--workers", "2"), id="two workers")])
def test_server_that_may_open_few_files_serves_few_connections(
    running: Launch,
    one_model: Path,
    tmp_path: Path,
    good_request: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nulimit -n 64\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with running(one_model, *options) as server:
        with ExitStack() as stack:
            for _ in range(120):
                busy = stack.enter_context(socket.create_connection(server.address, timeout=5))
                busy.sendall(b"GET /v2/health/live HTTP/1.1\r\n")
            server.until(lambda: "raise `ulimit -n`" in server.log)

        server.until(lambda: _answers(server, good_request))
        assert "Traceback" not in server.log


def _answers(server: Any, request: dict[str, Any]) -> bool:
    try:
        return bool(server.infer("affine", request).status_code == 200)
    except requests.ConnectionError:  # the others are not gone yet
        return False


def test_port_in_use_is_one_line(launched: Launch, one_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with launched(one_model, "--port", str(port)) as server:
            assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use" in one_line(server)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "no..name"])
def test_host_that_does_not_exist_is_one_line(launched: Launch, one_model: Path, host: str) -> None:
    with launched(one_model, "--host", host) as server:
        assert f"Cannot listen on {host} port" in one_line(server)


def test_missing_repository_is_one_line(launched: Launch, tmp_path: Path) -> None:
    with launched(tmp_path / "nowhere") as server:
        assert "nowhere is not a directory" in one_line(server)


def test_wrong_setting_is_one_line(launched: Launch, one_model: Path) -> None:
    with launched(one_model, AXON_MAX_BODY_SIZE="much") as server:
        assert "Setting 'max_body_size' in the environment is 'much'" in one_line(server)


def test_unknown_provider_is_one_line(launched: Launch, one_model: Path) -> None:
    with launched(one_model, "--provider", "Nonsense") as server:
        assert "The execution provider Nonsense is not in the installed onnxruntime" in one_line(server)


LOADED_MODULES = """
import asyncio, sys
from pathlib import Path
import service.cli
from service.app import create_app
from service.settings import Settings

async def live():
    app = create_app(Settings(repository=sys.argv[1]))
    async with app.lifespan():
        loading = [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "_keep"]
        assert loading
        await asyncio.gather(*loading)

asyncio.run(live())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_service_loads_no_module_of_training(one_model: Path) -> None:
    """Shown after the application has loaded and served a model."""
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED_MODULES, str(one_model)], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()

    assert {"service", "onnxruntime", "litestar"} <= set(loaded)
    assert {"tensorflow", "keras", "tf2onnx", "onnx", "sklearn", "training"}.isdisjoint(loaded)


def test_model_that_still_loads_when_all_is_taken_down_does_not_serve_afterwards(
    one_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller has left: nobody else would end the load, and nobody would take the model down."""
    begun, go_on, load = threading.Event(), threading.Event(), Loader.load

    def load_when_told(loader: Loader, *wanted: Any) -> Any:
        begun.set()
        go_on.wait(60)
        return load(loader, *wanted)

    async def live() -> list[Any]:
        registry = Registry()
        lifecycle = Lifecycle(registry, Directory(one_model), model_name=None, provider="auto", settle_seconds=0.0, observer=Mock())
        caller = asyncio.create_task(lifecycle.load("affine"))
        await asyncio.to_thread(begun.wait, 60)
        caller.cancel()
        closing = asyncio.create_task(lifecycle.close(patience=60))
        await asyncio.sleep(0)
        go_on.set()
        await closing
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        return list(registry.served())

    monkeypatch.setattr(Loader, "load", load_when_told)

    assert asyncio.run(live()) == []


def test_what_fails_beside_the_servers_is_logged_and_the_rest_is_taken_down(
    one_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for it while the server serves: it would be missing in silence."""

    async def fail(*_args: object) -> None:
        raise ValueError("nobody expected this")

    async def live() -> int:
        async with create_app(Settings(repository=str(one_model))).lifespan():
            for _ in range(3):  # rounds of the loop, in which it begins and fails
                await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    monkeypatch.setattr(Lifecycle, "load_all", fail)
    left = asyncio.run(live())

    assert left == 1
    assert "the server goes on without it" in caplog.text
    assert "nobody expected this" in caplog.text
