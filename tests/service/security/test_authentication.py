"""API keys at a real server, by the clients that people have."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import requests
import tritonclient.http as triton
from click.testing import CliRunner
from tritonclient.utils import InferenceServerException

from service import cli
from service.security import key_file

EXPOSED = "127.1"  # loopback in fact, but written so that the server cannot know it
DEADLINE = 30


@dataclass(frozen=True)
class Guarded:
    """A server with keys, and the keys."""

    server: Any
    path: Path
    app: str
    reader: str
    ops: str
    old: str
    slow: str
    fast: str

    def get(self, path: str, key: str | None = None) -> requests.Response:
        """Get a path by a key."""
        return self.call("GET", path, key)

    def call(self, method: str, path: str, key: str | None = None, **options: Any) -> requests.Response:
        """Call by a key."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        answer: requests.Response = self.server.http.request(
            method, self.server.url + path, headers=headers, timeout=DEADLINE, **options
        )
        return answer

    def refused(self, reason: str) -> float:
        """Count what was refused."""
        text = self.get("/metrics", self.reader).text
        return float(text.split(f'axon_refused_requests_total{{reason="{reason}"}} ')[1].split("\n")[0])


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory,
    running: Callable[..., AbstractContextManager[Any]],
    repository: Path,
    add_key: Callable[..., str],
) -> Iterator[Guarded]:
    """Run a server with keys of every kind; models can be loaded and unloaded."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys = {
        "app": add_key(path, "app", "infer", "read"),
        "reader": add_key(path, "reader", "read"),
        "ops": add_key(path, "ops", "manage"),
        "old": add_key(path, "old", "infer", "read", expires=timedelta(seconds=-1)),
        "slow": add_key(path, "slow", "infer", rate=0.05, burst=2),
        "fast": add_key(path, "fast", "infer", rate=1000.0, burst=20),
    }
    with running(repository, "--model-control", "explicit", "--log-level", "debug", AXON_API_KEYS=str(path)) as server:
        yield Guarded(server, path, **keys)


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/health/live/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_probe_needs_no_key(guarded: Guarded, method: str, path: str) -> None:
    assert guarded.call(method, path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "key"),
    [
        ("POST", "/v2/models/affine/infer", "app"),
        ("POST", "/v2/models/affine/versions/1/infer", "app"),
        ("POST", "/v1/models/affine:predict", "app"),
        ("POST", "/models/affine/predict", "app"),
        ("GET", "/v1/models/affine", "reader"),
        ("GET", "/v1/models/affine/metadata", "reader"),
        ("GET", "/v2", "reader"),
        ("GET", "/v2/models/affine", "reader"),
        ("GET", "/v2/models/affine/ready", "reader"),
        ("GET", "/openapi.json", "reader"),
        ("GET", "/metrics", "reader"),
        ("POST", "/v2/repository/index", "reader"),
        ("POST", "/v2/repository/models/affine/load", "ops"),
    ],
)
def test_call_needs_a_key_of_its_scope(guarded: Guarded, good_request: Any, method: str, path: str, key: str) -> None:
    """No key: 401. Keys of all other scopes: 403, which names the scope. The right key: an answer."""
    bodies = {"infer": good_request, "predict": {"instances": [[1, 2, 3, 4]]}}
    body = next(({"json": content} for end, content in bodies.items() if path.endswith(end)), {})
    scope = {"app": "infer", "reader": "read", "ops": "manage"}[key]
    others = {"reader", "ops", "fast"} - ({"fast"} if key == "app" else {key})

    no_key = guarded.call(method, path, **body)
    assert (no_key.status_code, no_key.json()["code"]) == (401, "unauthenticated")
    assert no_key.headers["www-authenticate"] == 'Bearer realm="axon"'
    for other in others:
        denied = guarded.call(method, path, getattr(guarded, other), **body)
        assert (denied.status_code, denied.json()["code"]) == (403, "permission_denied")
        assert f"'{scope}'" in denied.json()["error"]
    assert guarded.call(method, path, getattr(guarded, key), **body).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/models/affine/unload"),
        ("POST", "//v2/repository/models/affine/unload"),
        ("POST", "/v2//repository/models/affine/unload/"),
        ("POST", "/v2/repository%2Fmodels/affine/unload"),
        ("POST", "/v2/%72epository/models/affine/unload"),
        ("POST", "/v2/models/../repository/models/affine/unload"),
        ("POST", "/v2/nothing"),
        ("DELETE", "/v2/models/affine"),
        ("OPTIONS", "/v2/models/affine/infer"),
    ],
)
def test_no_way_of_writing_a_path_gets_by_without_the_scope_to_manage(guarded: Guarded, method: str, path: str) -> None:
    """Sent as it is: a client would tidy it up."""
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n"
    for key, statuses in ((None, b"401"), (guarded.reader, b"403"), (guarded.app, b"403 404")):
        sent = head + (f"X-API-Key: {key}\r\n" if key else "") + "\r\n"
        with closing(socket.create_connection(guarded.server.address, timeout=DEADLINE)) as connection:
            connection.sendall(sent.encode())
            answered = connection.recv(65536).split(b" ")[1]
        assert answered in statuses.split()
    assert guarded.get("/v2/models/affine/ready", guarded.reader).status_code == 200


def test_key_may_come_as_bearer_or_as_x_api_key(guarded: Guarded) -> None:
    url = guarded.server.url + "/v2"
    with httpx.Client(trust_env=False) as client:
        assert client.get(url, headers={"X-API-Key": guarded.app}).status_code == 200
        assert client.get(url, headers={"Authorization": f"Bearer {guarded.app}"}).status_code == 200
        assert client.get(url, headers={"authorization": f"BEARER {guarded.app}"}).status_code == 200
        assert client.get(url, headers={"Authorization": f"Basic {guarded.app}"}).status_code == 401
        assert client.get(url, params={"key": guarded.app}).status_code == 401


def test_wrong_and_expired_keys_are_told_apart_and_counted(guarded: Guarded) -> None:
    before = {reason: guarded.refused(reason) for reason in ("no_key", "unknown_key", "expired_key", "wrong_scope")}
    wrong, expired = guarded.get("/v2", guarded.app[:-1]), guarded.get("/v2", guarded.old)

    assert (wrong.status_code, expired.status_code) == (401, 401)
    assert "not valid here" in wrong.json()["error"]
    assert "'old' has expired" in expired.json()["error"]
    assert wrong.headers["www-authenticate"] == 'Bearer realm="axon", error="invalid_token"'
    assert {reason: guarded.refused(reason) - count for reason, count in before.items()} == {
        "no_key": 0,
        "unknown_key": 1,
        "expired_key": 1,
        "wrong_scope": 0,
    }


def test_two_callers_have_rates_of_their_own(guarded: Guarded, good_request: Any) -> None:
    def call(key: str) -> requests.Response:
        return guarded.call("POST", "/v2/models/affine/infer", key, json=good_request)

    slow = [call(guarded.slow) for _ in range(4)]
    fast = [call(guarded.fast) for _ in range(20)]

    assert [answer.status_code for answer in slow] == [200, 200, 429, 429]
    assert {answer.status_code for answer in fast} == {200}
    assert slow[2].json()["code"] == "rate_limited"
    assert 10 <= int(slow[2].headers["retry-after"]) <= 20


def test_caller_who_waits_as_told_is_served(guarded: Guarded, add_key: Callable[..., str], good_request: Any) -> None:
    key = add_key(guarded.path, "patient", "infer", rate=0.5, burst=1)
    guarded.server.until(lambda: guarded.get("/v2", key).status_code == 403)  # the key is known, and not for that
    statuses = []
    for _ in range(2):
        answer = guarded.call("POST", "/v2/models/affine/infer", key, json=good_request)
        statuses.append(answer.status_code)
    time.sleep(int(answer.headers["retry-after"]))
    statuses.append(guarded.call("POST", "/v2/models/affine/infer", key, json=good_request).status_code)

    assert statuses == [200, 429, 200]


@pytest.mark.parametrize("key", [None, "slow"], ids=["no key", "over its rate"])
def test_refusal_does_not_wait_for_the_body(guarded: Guarded, good_request: Any, key: str | None) -> None:
    headers = ""
    if key is not None:
        headers = f"X-API-Key: {guarded.slow}\r\n"
        for _ in range(3):
            guarded.call("POST", "/v2/models/affine/infer", guarded.slow, json=good_request)
    with closing(socket.create_connection(guarded.server.address, timeout=DEADLINE)) as connection:
        head = f"POST /v2/models/affine/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n{headers}\r\n"
        connection.sendall(head.encode())

        assert connection.recv(65536).startswith(b"HTTP/1.1 429" if key else b"HTTP/1.1 401")


def test_refused_body_does_not_spoil_the_connection(guarded: Guarded, good_request: Any) -> None:
    """The next request on the same connection is understood."""
    body = json.dumps(good_request).encode()
    head = b"POST /v2/models/affine/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % len(body)
    with closing(socket.create_connection(guarded.server.address, timeout=DEADLINE)) as connection:
        connection.sendall(head + b"\r\n" + body)
        connection.sendall(head + b"Connection: close\r\nX-API-Key: %s\r\n\r\n" % guarded.app.encode() + body)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))

        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"401", b"200"]


def test_triton_client_sends_its_key_in_its_headers(guarded: Guarded) -> None:
    tensor = triton.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.array([[1, 2, 3, 4]], dtype=np.float32), binary_data=False)
    wanted = triton.InferRequestedOutput("y", binary_data=False)
    headers = {"Authorization": f"Bearer {guarded.app}"}
    with closing(triton.InferenceServerClient(guarded.server.url.removeprefix("http://"))) as client:
        assert client.is_server_live()
        answer = client.infer("affine", [tensor], outputs=[wanted], headers=headers)
        with pytest.raises(InferenceServerException) as caught:
            client.infer("affine", [tensor], outputs=[wanted])

    assert answer.as_numpy("y").shape == (1, 3)
    assert caught.value.status() == "401"
    assert "needs an API key" in caught.value.message()


def test_revoked_key_ends_while_the_server_runs(guarded: Guarded, add_key: Callable[..., str]) -> None:
    key = add_key(guarded.path, "brief", "read")
    guarded.server.until(lambda: guarded.get("/v2", key).status_code == 200)
    key_file.remove(guarded.path, "brief")
    guarded.server.until(lambda: guarded.get("/v2", key).status_code == 401)

    assert guarded.get("/v2", guarded.app).status_code == 200


def test_broken_file_keeps_the_keys_and_is_logged(guarded: Guarded) -> None:
    """The guard looks at its file when somebody calls."""
    statuses = set()

    def log_of_a_call() -> str:
        statuses.add(guarded.get("/v2", guarded.app).status_code)
        return str(guarded.server.log)

    good = guarded.path.read_text()
    read = log_of_a_call().count("API keys in")
    guarded.path.write_text("[keys")
    guarded.server.until(lambda: re.search("cannot be understood.*stay valid", log_of_a_call()) is not None)
    guarded.path.write_text(good)
    guarded.server.until(lambda: log_of_a_call().count("API keys in") > read)

    assert statuses == {200}


def test_who_manages_is_logged_by_the_name_of_the_key(guarded: Guarded) -> None:
    guarded.call("POST", "/v2/repository/models/affine/load", guarded.ops)

    guarded.server.wait_for(r"INFO axon\.security: API key 'ops': POST /v2/repository/models/affine/load")


def test_api_description_tells_the_scope_of_each_operation(guarded: Guarded, server: Any) -> None:
    paths = guarded.get("/openapi.json", guarded.reader).json()["paths"]
    infer, load = paths["/v2/models/{model_name}/infer"]["post"], paths["/v2/repository/models/{model_name}/load"]["post"]

    assert infer["security"] == [{"bearer": ["infer"]}, {"apiKey": ["infer"]}]
    assert load["security"] == [{"bearer": ["manage"]}, {"apiKey": ["manage"]}]
    assert {"401", "403", "429"} <= infer["responses"].keys()
    assert "security" not in paths["/v2/health/live"]["get"]
    assert "security" not in server.get("/openapi.json").text


def test_predict_sends_the_key_of_a_file(guarded: Guarded, tmp_path: Path) -> None:
    rows, key_path = tmp_path / "rows.json", tmp_path / "app.key"
    rows.write_text("[0, 0, 0, 10]")
    key_path.write_text(guarded.app + "\n")
    arguments = ["predict", "affine", str(rows), "--url", guarded.server.url]
    with_key = CliRunner().invoke(cli.axon, [*arguments, "--key-file", str(key_path)])
    without = CliRunner().invoke(cli.axon, arguments)

    assert with_key.output.startswith("y[0]: blue")
    assert "401" in str(without.exception)


def test_refusals_carry_the_id_of_the_request(guarded: Guarded) -> None:
    answer = guarded.server.http.get(guarded.server.url + "/v2", headers={"X-Request-Id": "abc-1"}, timeout=DEADLINE)

    assert (answer.status_code, answer.json()["request_id"], answer.headers["x-request-id"]) == (401, "abc-1", "abc-1")


def test_nothing_secret_leaves_the_server(guarded: Guarded, good_request: Any) -> None:
    """Not in its log, its metrics, its errors, its answers, its arguments and the title of its process."""
    keys = [guarded.app, guarded.reader, guarded.ops, guarded.old, guarded.slow, guarded.fast, "axon_" + "wrong" * 8]
    said = []
    for key in keys:
        for name in ("Authorization", "X-API-Key"):
            for method, path in (("GET", "/v2"), ("POST", "/v2/models/affine/infer"), ("POST", "/v2/models/affine/infer?x=%")):
                value = f"Bearer {key}" if name == "Authorization" else key
                answer = guarded.server.http.request(
                    method, guarded.server.url + path, headers={name: value}, json=good_request, timeout=DEADLINE
                )
                said.append(answer.text + str(answer.headers))
    process = Path(f"/proc/{guarded.server.process.pid}")
    said += [guarded.server.log, guarded.get("/metrics", guarded.reader).text, guarded.get("/openapi.json", guarded.reader).text]
    said += [(process / name).read_bytes().decode(errors="replace") for name in ("cmdline", "comm", "environ")]
    secrets = [key.removeprefix("axon_") for key in keys]
    secrets += [key.sha256 for key in key_file.read(guarded.path).values()]

    assert len(said) > 40
    assert [secret for secret in secrets if any(secret in text or secret[:12] in text for text in said)] == []


def test_metrics_can_be_opened(
    running: Callable[..., AbstractContextManager[Any]], repository: Path, keys_path: Path, add_key: Callable[..., str]
) -> None:
    add_key(keys_path, "app", "infer")
    with running(repository, AXON_API_KEYS=str(keys_path), AXON_OPEN_METRICS="true") as server:
        assert server.get("/metrics").status_code == 200
        assert server.get("/v2").status_code == 401


def test_server_does_not_start_without_the_file_that_it_was_told_of(
    launched: Callable[..., AbstractContextManager[Any]], repository: Path, keys_path: Path
) -> None:
    with launched(repository, AXON_API_KEYS=str(keys_path)) as server:
        assert server.ended() == 1
        assert f"axon: There is no file of API keys at {keys_path}" in server.log


def test_exposed_server_without_keys_warns_and_refuses_to_be_managed(
    running: Callable[..., AbstractContextManager[Any]], repository: Path, good_request: Any
) -> None:
    with running(repository, "--host", EXPOSED, "--model-control", "explicit") as server:
        refused = server.http.post(server.url + "/v2/repository/models/affine/unload", timeout=DEADLINE)

        assert refused.status_code == 403
        assert "API keys" in refused.json()["error"]
        assert server.infer("affine", good_request).status_code == 200
        assert server.log.count("WARNING") == 1
        assert "WARNING axon.server: EVERYONE who can reach 127.1 can run the models" in server.log


def test_exposed_server_with_keys_is_managed_by_them(
    running: Callable[..., AbstractContextManager[Any]], repository: Path, keys_path: Path, add_key: Callable[..., str]
) -> None:
    headers = {"X-API-Key": add_key(keys_path, "ops", "manage")}
    with running(repository, "--host", EXPOSED, "--model-control", "explicit", "--api-keys", str(keys_path)) as server:
        url = server.url + "/v2/repository/models/affine/load"

        assert server.http.post(url, headers=headers, timeout=DEADLINE).status_code == 200
        assert "EVERYONE" not in server.log
        assert "cross the network in the clear" in server.log
