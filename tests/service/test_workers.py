"""Several processes that serve as one, seen from outside: who answers, what is counted, what happens when one dies."""

import json
import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc as triton

from service.processes.channel import Change, Channel, Relay

DEADLINE = 20.0


@pytest.fixture
def models(tmp_path: Path, repository: Path) -> Path:
    """Make a repository with one model that works."""
    shutil.copytree(repository / "affine", tmp_path / "models" / "affine")
    return tmp_path / "models"


@pytest.fixture
def workers(models: Path, running: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    """Run a server of two workers."""
    with running(models, "--workers", "2") as server:
        server.wait_for("2 of 2 workers ready")
        yield server


def pids(server: Any) -> list[int]:
    """Return the processes of the workers that run, as the log tells them."""
    started = re.findall(r"worker \d+ is process (\d+)", server.log)
    ended = re.findall(r"\(process (\d+)\) ended", server.log)
    return sorted({int(pid) for pid in started} - {int(pid) for pid in ended})


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < DEADLINE, "it never came to hold"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_address_is_told_once_and_both_workers_answer(workers: Any, good_request: dict[str, Any]) -> None:
    for _ in range(4):
        assert requests.post(f"{workers.url}/v2/models/affine/infer", json=good_request, timeout=DEADLINE).status_code == 200

    assert workers.log.count("listens on http") == 1
    assert workers.log.count("gRPC listens on") == 1
    assert len(pids(workers)) == 2


def test_connections_are_spread_evenly(workers: Any) -> None:
    """Also few of them: a proxy keeps a handful alive, for long. One that is busy for a moment may get fewer of them."""

    def are_even() -> bool:
        with ExitStack() as stack:
            for session in [stack.enter_context(requests.Session()) for _ in range(6)]:
                assert session.get(f"{workers.url}/v2/health/live", timeout=DEADLINE).status_code == 200
            fewest, most = sorted(connections(pid) for pid in pids(workers))  # perhaps one more, of those who looked before
            return fewest >= 3 and most - fewest <= 1

    for _ in range(3):
        if are_even():
            return
    pytest.fail("one of them had more, three times")


def connections(pid: int) -> int:
    """Count the TCP connections of a process."""
    inodes = {line.split()[9] for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "01"}
    opened = (str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink())
    return sum(target.removeprefix("socket:[").removesuffix("]") in inodes for target in opened)


def test_any_scrape_shows_the_sum_of_all(workers: Any, good_request: dict[str, Any]) -> None:
    for _ in range(20):
        assert requests.post(f"{workers.url}/v2/models/affine/infer", json=good_request, timeout=DEADLINE).status_code == 200
    scrapes = [requests.get(f"{workers.url}/metrics", timeout=DEADLINE).text for _ in range(4)]

    line = 'axon_inference_requests_total{model="affine",outcome="ok",reason="",version="1"} 20.0'
    assert [line in scrape for scrape in scrapes] == [True] * 4
    assert workers.metric("axon_inference_request_duration_seconds_count", model="affine") == 20
    assert workers.metric("axon_inference_request_duration_seconds_bucket", model="affine", le="+Inf") == 20
    assert workers.metric("axon_model_state", model="affine", state="READY") == 1
    assert workers.metric("axon_workers") == 2
    assert workers.metric("axon_worker_restarts_total") == 0
    assert Counter(re.findall(r"^# TYPE (\S+)", scrapes[0], re.MULTILINE)).most_common(1)[0][1] == 1


def test_killed_worker_is_replaced_and_its_counts_stay(workers: Any, good_request: dict[str, Any]) -> None:
    for _ in range(10):
        requests.post(f"{workers.url}/v2/models/affine/infer", json=good_request, timeout=DEADLINE)
    victim = pids(workers)[0]
    os.kill(victim, signal.SIGKILL)

    eventually(lambda: len(re.findall("is ready to serve", workers.log)) == 3)  # how fast: tests/faults/kill_workers.py
    statuses = {
        requests.post(f"{workers.url}/v2/models/affine/infer", json=good_request, timeout=DEADLINE).status_code for _ in range(10)
    }

    assert statuses == {200}
    assert f"(process {victim}) ended: killed by SIGKILL; a new one starts now" in workers.log
    assert workers.metric("axon_inference_requests_total", model="affine", outcome="ok") == 20
    assert workers.metric("axon_worker_restarts_total") == 1
    assert workers.metric("axon_workers") == 2


def test_connections_of_others_outlive_a_killed_worker(workers: Any) -> None:
    victim, other = pids(workers)
    with ExitStack() as stack:

        def connect_to_both() -> bool:
            """One more connection: who is busy for a moment gets none, so that two may not be enough."""
            session = stack.enter_context(requests.Session())
            session.get(f"{workers.url}/v2/health/live", timeout=DEADLINE)
            return bool(connections(victim) and connections(other))

        eventually(connect_to_both)
        kept = connections(other)
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(re.findall("is ready to serve", workers.log)) == 3)

        assert connections(other) == kept


def test_worker_that_is_told_to_end_finishes_and_is_replaced(workers: Any) -> None:
    os.kill(pids(workers)[0], signal.SIGTERM)
    eventually(lambda: len(re.findall("is ready to serve", workers.log)) == 3)

    assert "ended: exit status 0; a new one starts now" in workers.log


def test_worker_that_does_not_answer_gets_no_connections(workers: Any) -> None:
    stopped = pids(workers)[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        time.sleep(1.2)  # as long as the parent waits for a sign of life
        answers = [requests.get(f"{workers.url}/v2/health/live", timeout=DEADLINE).status_code for _ in range(10)]
    finally:
        os.kill(stopped, signal.SIGCONT)

    assert answers == [200] * 10


def test_worker_that_hangs_for_long_is_replaced(models: Path, running: Callable[..., AbstractContextManager[Any]]) -> None:
    with running(models, "--workers", "2", AXON_WORKER_TIMEOUT="1") as server:
        server.wait_for("2 of 2 workers ready")
        os.kill(pids(server)[0], signal.SIGSTOP)
        server.wait_for("hangs: killed after")
        eventually(lambda: len(re.findall("is ready to serve", server.log)) == 3)

        assert len(pids(server)) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_the_parent_ends_all(workers: Any, number: signal.Signals) -> None:
    own = pids(workers)

    assert workers.stop(number) == 0
    assert [is_running(pid) for pid in own] == [False, False]
    assert workers.log.count("stopped") == 1
    assert "Traceback" not in workers.log
    assert "terminate called" not in workers.log


def test_interrupt_of_a_terminal_reaches_all_processes_and_hurries_none(workers: Any, good_request: dict[str, Any]) -> None:
    assert workers.infer("affine", good_request).status_code == 200
    for pid in pids(workers):
        os.kill(pid, signal.SIGINT)

    assert workers.stop(signal.SIGINT) == 0
    assert workers.log.count("unloads: the server stops") == 2


def test_no_worker_outlives_a_killed_parent(workers: Any) -> None:
    own = pids(workers)
    workers.stop(signal.SIGKILL)

    eventually(lambda: not any(is_running(pid) for pid in own))


def test_load_and_unload_reach_every_worker(models: Path, running: Callable[..., AbstractContextManager[Any]]) -> None:
    with running(models, "--workers", "3", "--model-control", "explicit") as server:
        server.wait_for("3 of 3 workers ready")

        assert requests.post(f"{server.url}/v2/repository/models/affine/unload", timeout=DEADLINE).status_code == 200
        assert everyones_answer(server) == {404}

        os.kill(pids(server)[0], signal.SIGKILL)
        eventually(lambda: len(re.findall("is ready to serve", server.log)) == 4)
        assert everyones_answer(server) == {404}, "the new worker must not bring back what was unloaded"

        assert requests.post(f"{server.url}/v2/repository/models/affine/load", timeout=DEADLINE).status_code == 200
        assert everyones_answer(server) == {200}
        assert requests.post(f"{server.url}/v2/repository/models/nothing/load", timeout=DEADLINE).status_code == 404


def test_worker_that_starts_amidst_a_change_makes_those_before_it_first(
    models: Path, running: Callable[..., AbstractContextManager[Any]]
) -> None:
    """Else it would end with what was wanted earlier, and differ from the others for good."""
    with running(models, "--workers", "2", "--model-control", "explicit") as server:
        server.wait_for("2 of 2 workers ready")
        assert requests.post(f"{server.url}/v2/repository/models/affine/unload", timeout=DEADLINE).status_code == 200
        os.kill(pids(server)[0], signal.SIGKILL)
        eventually(lambda: len(re.findall(r"worker \d is process", server.log)) == 3)

        assert requests.post(f"{server.url}/v2/repository/models/affine/load", timeout=DEADLINE).status_code == 200
        eventually(lambda: len(re.findall("is ready to serve", server.log)) == 3)
        assert everyones_answer(server) == {200}


def test_load_call_that_is_too_large_for_the_workers_is_refused(
    models: Path, running: Callable[..., AbstractContextManager[Any]]
) -> None:
    with running(models, "--workers", "2", "--model-control", "explicit") as server:
        versions = [10**15 + number for number in range(20_000)]
        config = json.dumps({"version_policy": {"specific": {"versions": versions}}})
        load = lambda body: requests.post(f"{server.url}/v2/repository/models/affine/load", json=body, timeout=DEADLINE)  # noqa: E731
        refused = load({"parameters": {"config": config}})

        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
        assert "65536 bytes" in refused.json()["error"]
        assert load({}).status_code == 200
        assert everyones_answer(server) == {200}


def test_load_call_that_fits_into_the_channel_on_its_way_to_the_parent_alone_is_refused(
    models: Path, running: Callable[..., AbstractContextManager[Any]]
) -> None:
    """What goes on to the workers is a few bytes longer; cut off, it would be answered by nobody, and no change after it."""
    versions = [10**15] * 7200
    while Channel.takes(Relay(1, Change("load", "affine", {"versions": {"policy": "specific", "numbers": [*versions, 1]}}))):
        versions.append(1)
    config = json.dumps({"version_policy": {"specific": {"versions": versions}}})
    with running(models, "--workers", "2", "--model-control", "explicit") as server:
        load = lambda body: requests.post(f"{server.url}/v2/repository/models/affine/load", json=body, timeout=DEADLINE)  # noqa: E731

        assert "65536 bytes" in load({"parameters": {"config": config}}).json()["error"]
        assert load({}).status_code == 200


def everyones_answer(server: Any) -> set[int]:
    """Ask each worker, over a connection of its own, whether the model is ready."""
    with ExitStack() as stack:
        sessions = [stack.enter_context(requests.Session()) for _ in range(6)]
        return {session.get(f"{server.url}/v2/models/affine/ready", timeout=DEADLINE).status_code for session in sessions}


def test_server_gives_up_when_no_worker_can_start(models: Path, launched: Callable[..., AbstractContextManager[Any]]) -> None:
    """A worker is killed here each time before it has loaded, as if there were no memory for it."""
    with launched(models, "--workers", "2") as server:
        killed: set[int] = set()
        while server.process.poll() is None:
            for pid in set(pids(server)) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)

        assert server.ended() == 1
        assert "axon: None of 2 worker processes could load: each ended 5 times in a row" in server.log
        assert re.search(r"a new one starts in 0\.2 s, as the last 3 did not last", server.log)


def test_wrong_setting_is_told_once_and_starts_no_worker(
    models: Path, launched: Callable[..., AbstractContextManager[Any]]
) -> None:
    with launched(models, "--workers", "2", AXON_API_KEYS=str(models / "nowhere.toml")) as server:
        assert server.ended() == 1
        assert server.log.count("There is no file of API keys at") == 1
        assert "is process" not in server.log


def test_metrics_can_have_a_port_of_their_own(models: Path, running: Callable[..., AbstractContextManager[Any]]) -> None:
    with running(models, "--workers", "2", AXON_METRICS_PORT="0") as server:
        server.wait_for("2 of 2 workers ready")
        url = server.wait_for(r"metrics on (http://\S+)").group(1)

        assert "axon_workers 2.0" in requests.get(url, timeout=DEADLINE).text
        assert requests.get(url + "/", timeout=DEADLINE).status_code == 200
        assert [server.get(path).status_code for path in ("/metrics", "/metrics/", "//metrics", "/metrics%2f")] == [404] * 4
        assert requests.get(url.replace("/metrics", "/v2"), timeout=DEADLINE).status_code == 404
        assert server.get("/v2").status_code == 200


def test_grpc_is_served_by_all_workers_at_one_port(workers: Any) -> None:
    """Also by the worker that takes the place of another one. Every client here has a connection of its own."""
    port = workers.wait_for(r"gRPC listens on (\S+)").group(1)
    os.kill(pids(workers)[0], signal.SIGKILL)
    eventually(lambda: len(re.findall("is ready to serve", workers.log)) == 3)
    tensor = triton.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32))
    for _ in range(8):
        client = triton.InferenceServerClient(port)
        assert client.infer("affine", [tensor]).as_numpy("y").shape == (1, 3)
        client.close()

    assert workers.metric("axon_inference_requests_total", model="affine", outcome="ok") == 8
