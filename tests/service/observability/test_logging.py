"""The log: one line an event, text or JSON, with the ids of the request, and with nothing that a client would not want there."""

import json
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import copy_context
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from click.testing import CliRunner

from service.cli import axon
from service.observability.logging import JsonFormatter, TextFormatter
from service.request_context import begin

DEADLINE = 30.0
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
FORM = "%(levelname)s %(name)s: %(message)s"


def record(message: str, *args: object, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("axon.test", logging.WARNING, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


def within_a_call(act: Callable[[], str]) -> str:
    """Do something as if for a call."""

    def call() -> str:
        begin("r-7", TRACE)
        return act()

    return copy_context().run(call)


def test_line_of_a_request_has_its_ids() -> None:
    line = within_a_call(lambda: TextFormatter(FORM).format(record("it is %d", 5)))

    assert line == "WARNING axon.test: it is 5 [request_id=r-7 trace_id=4bf92f3577b34da6a3ce929d0e0e4736]"
    assert TextFormatter(FORM).format(record("it is")) == "WARNING axon.test: it is"


def test_json_is_one_object_a_line_with_facts_as_fields() -> None:
    entry = record("model %s\nis ready", "m", facts={"model": "m", "version": "3"})
    line = within_a_call(lambda: JsonFormatter().format(entry))
    content = json.loads(line)

    assert "\n" not in line
    assert content.pop("time").endswith("+00:00")
    assert content == {
        "level": "warning",
        "logger": "axon.test",
        "message": "model m\nis ready",
        "request_id": "r-7",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "model": "m",
        "version": "3",
    }


def test_traceback_is_part_of_the_json() -> None:
    entry = record("it failed")
    try:
        int("why")
    except ValueError:
        entry.exc_info = sys.exc_info()

    assert "ValueError: invalid literal" in json.loads(JsonFormatter().format(entry))["exception"]


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, str]:
    """Make a key file, and return the key."""
    path = tmp_path / "keys.toml"
    result = CliRunner().invoke(axon, ["keys", "create", "shop"], env={"AXON_API_KEYS": str(path)})
    return path, result.stdout.strip()


def test_every_line_of_a_server_is_json_and_every_call_has_one(
    running: Callable[..., AbstractContextManager[Any]], repository: Path, good_request: dict[str, Any]
) -> None:
    with running(repository, "--log-format", "json", "--access-log") as server:
        for model, body in (("affine", good_request), ("nothing", good_request), ("lookup", lookup_of(9))):
            server.http.post(
                f"{server.url}/v2/models/{model}/infer?secret=1",
                json=body,
                headers={"x-request-id": f"id-{model}"},
                timeout=DEADLINE,
            )
        with grpc.insecure_channel(server.wait_for(r"gRPC listens on ([\d.:]+)").group(1)) as channel:
            channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=DEADLINE)
        server.wait_for("ServerLive")
        server.stop()
        lines = [json.loads(line) for line in server.log.splitlines()]
    access = {line.get("request_id"): line for line in lines if line["logger"] == "axon.access"}

    assert {line["level"] for line in lines} <= {"info", "warning", "error"}
    ready = [line for line in lines if line.get("event") == "ready"]
    assert {line["model"] for line in ready} >= {"affine", "lookup", "slow"}
    assert {line["model"]: line["event"] for line in lines if line.get("event") == "unavailable"} == {"broken": "unavailable"}
    good = access["id-affine"]
    assert (good["method"], good["path"], good["status"], good["protocol"]) == ("POST", "/v2/models/affine/infer", "200", "http")
    assert good["milliseconds"] > 0
    assert good["bytes"] > 50
    assert (access["id-nothing"]["status"], access["id-lookup"]["status"]) == ("404", "500")
    [failure] = [line for line in lines if line["level"] == "error" and line["logger"] == "axon.http"]
    assert failure["request_id"] == "id-lookup"
    assert failure["model"] == "lookup"
    assert any(line["path"] == "/inference.GRPCInferenceService/ServerLive" and line["status"] == "OK" for line in access.values())
    assert not [line for line in lines if "secret" in json.dumps(line)]


def lookup_of(value: int) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT64", "data": [value]}]}


def test_access_log_names_the_key_and_never_shows_it(
    running: Callable[..., AbstractContextManager[Any]], repository: Path, keys: tuple[Path, str], good_request: dict[str, Any]
) -> None:
    path, key = keys
    with running(repository, "--access-log", "--api-keys", str(path)) as server:
        url = f"{server.url}/v2/models/affine/infer"
        assert requests.post(url, json=good_request, headers={"authorization": f"Bearer {key}"}, timeout=DEADLINE).ok
        assert requests.post(url, json=good_request, timeout=DEADLINE).status_code == 401
        server.wait_for(r"POST /v2/models/affine/infer 200 [\d.]+ ms \d+ bytes key 'shop' \[request_id=")
        server.wait_for(r"POST /v2/models/affine/infer 401 [\d.]+ ms \d+ bytes \[request_id=")

        assert key not in server.log


def test_no_call_is_logged_unless_wanted(server: Any, good_request: dict[str, Any]) -> None:
    server.infer("affine", good_request)

    assert "axon.access" not in server.log
