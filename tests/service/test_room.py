"""How much of clients' data may be in memory at a time."""

import http.client
import json
import select
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests

from service.errors import Overloaded
from service.inference.memory import usable_memory
from service.room import Room

Launch = Callable[..., AbstractContextManager[Any]]


def test_room_that_is_given_back_is_there_again() -> None:
    room = Room(10)
    with room.hold() as hold:
        hold.add(6)
        hold.add(4)
        assert room.held == 10

    assert room.held == 0


def test_who_finds_no_room_keeps_only_what_it_had() -> None:
    room = Room(10)
    with room.hold() as first, room.hold() as second:
        first.add(6)
        second.add(3)
        with pytest.raises(Overloaded, match="10 bytes"):
            second.add(2)
        assert room.held == 9


def test_request_that_is_alone_finds_room_whatever_its_size() -> None:
    with Room(10).hold() as hold:
        hold.add(11)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        pytest.param({"memory.max": "1000000\n"}, 1_000_000, id="cgroup v2"),
        pytest.param({"memory/memory.limit_in_bytes": "2000000\n"}, 2_000_000, id="cgroup v1"),
    ],
)
def test_memory_that_may_be_used_is_that_of_the_container(files: dict[str, str], limit: int, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="ascii")

    assert usable_memory(cgroup=tmp_path) == limit


@pytest.mark.parametrize("content", ["max\n", None, str(2**63)])
def test_memory_without_a_limit_is_that_of_the_machine(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "memory.max").write_text(content, encoding="ascii")

    assert 1 << 27 < usable_memory(cgroup=tmp_path) < 1 << 50


def test_body_that_finds_no_room_gets_a_503_and_the_next_one_an_answer(
    running: Launch, tmp_path: Path, graphs: Any, save: Callable[..., Path], good_request: dict[str, Any]
) -> None:
    """A request whose body does not end takes the room."""
    save(graphs.affine(), tmp_path / "affine" / "1")
    taken = 1 << 18
    with running(tmp_path, AXON_MAX_PENDING_BYTES=str(taken + 1000)) as server:

        def asked() -> requests.Response:
            found: requests.Response = server.infer("affine", good_request | {"id": "a" * 2000})
            return found

        for _ in range(100):
            with closing(http.client.HTTPConnection(*server.address, timeout=60)) as first:
                first.putrequest("POST", "/v2/models/affine/infer")
                first.putheader("Content-Length", str(2 * taken))
                first.endheaders(b" " * taken)
                time.sleep(0.1)
                refused = asked()
            if refused.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
                break
            # The short one was there first, and the long one was refused.
        server.until(lambda: asked().status_code == HTTPStatus.OK)

        assert refused.json()["code"] == "overloaded"
        assert refused.headers["retry-after"] == "1"


def test_bodies_that_stop_coming_find_no_room_together(
    running: Launch, tmp_path: Path, graphs: Any, save: Callable[..., Path]
) -> None:
    """Each is less than the application is given at once: they were in memory all the same, and counted by nobody."""
    save(graphs.affine(), tmp_path / "affine" / "1")
    head = b"POST /v2/models/affine/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n"
    with running(tmp_path, AXON_MAX_PENDING_BYTES="400000") as server, ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(server.address, timeout=60)) for _ in range(3)]
        for client in clients:
            client.sendall(head + b" " * 200_000)
        told = select.select(clients, [], [], 15)[0]

        assert told, "none was told"
        assert all(client.recv(100).startswith(b"HTTP/1.1 503") for client in told)


def test_answer_that_its_client_does_not_take_keeps_its_room(
    running: Launch, tmp_path: Path, graphs: Any, save: Callable[..., Path]
) -> None:
    """It is in memory until then, larger than what the two systems keep between them."""
    save(graphs.identity("INT64", ("n", 1)), tmp_path / "integers" / "1")
    rows = 700_000
    tensor = {"name": "x", "shape": [rows, 1], "datatype": "INT64", "data": [2**61] * rows}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = (
        f"POST /v2/models/integers/infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    with running(tmp_path, AXON_MAX_PENDING_BYTES=str(len(body) * 4 // 3 + 1000)) as server, closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        slow.settimeout(60)
        slow.connect(server.address)
        slow.sendall(head + body)
        slow.recv(1)  # the answer is on its way

        assert server.infer("integers", body).status_code == 503
        while slow.recv(1 << 20):
            pass
        assert server.infer("integers", body).status_code == 200
