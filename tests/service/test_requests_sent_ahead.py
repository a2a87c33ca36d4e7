"""Several requests in a row on a connection, sent before the first is answered: each gets its own answer."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

INFER = "/v2/models/affine/infer"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
UPGRADE = "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
CHUNKED = f"POST {INFER} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
RUBBISH = b"no HTTP at all\r\n\r\n"


def body(name: str) -> bytes:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    return json.dumps({"id": name, "inputs": [tensor]}).encode()


def request(name: str, *, model: str = "affine", headers: str = "", spaces: int = 0) -> bytes:
    content = b" " * spaces + body(name)
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    return head.encode() + content


@pytest.fixture
def connection(server: Any) -> Iterator[socket.socket]:
    """Open a connection."""
    with closing(socket.create_connection(server.address, timeout=30)) as opened:
        yield opened


@pytest.fixture
def answers(connection: socket.socket) -> Callable[..., list[str]]:
    """Return a function that sends something and gives all answers: their status, and their id if there is one."""

    def exchanged(*parts: bytes, pause: float = 0.0) -> list[str]:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        received = b""
        while piece := connection.recv(1 << 20):
            received += piece
        found = re.finditer(rb'HTTP/1\.1 (\d+) (?:(?!HTTP/1\.1 ).)*?(?:\r\n\r\n(?:\{"id":"(\w+)")?)', received, re.DOTALL)
        return [" ".join(part.decode() for part in match.groups() if part) for match in found]

    return exchanged


def test_more_of_them_than_the_server_reads_at_once_are_all_answered(answers: Callable[..., list[str]]) -> None:
    assert answers(LIVE * 7000 + LAST) == ["200"] * 7001


def test_head_that_begins_behind_a_large_body_is_no_large_head(answers: Callable[..., list[str]]) -> None:
    assert answers(request("a", spaces=1 << 20) + LAST[:10], LAST[10:], pause=0.1) == ["200 a", "200"]


def test_those_before_one_that_is_no_http_are_answered_first(answers: Callable[..., list[str]]) -> None:
    assert answers(request("a", model="slow") + request("b") + RUBBISH + request("c")) == ["200 a", "200 b", "400"]


def test_those_before_a_body_in_bad_chunks_are_answered_first(answers: Callable[..., list[str]]) -> None:
    assert answers(request("a", model="slow") + CHUNKED + b"3\r\n{  \r\nno size\r\n" + LAST) == ["200 a", "400"]


def test_those_before_a_head_without_end_are_answered_first(answers: Callable[..., list[str]]) -> None:
    endless = b"GET / HTTP/1.1\r\nX-Header: " + b"a" * 70_000
    assert answers(request("a", model="slow") + request("b"), endless, pause=0.05) == ["200 a", "200 b", "431"]


def test_body_that_turns_out_bad_after_its_answer_gets_no_second_one(answers: Callable[..., list[str]]) -> None:
    unknown = CHUNKED.replace(b"affine", b"unknown")

    assert answers(unknown + b"3\r\n{  \r\n", b"no size\r\n" + LAST, pause=0.1) == ["404"]


def test_upgrade_may_be_offered_by_any_of_them(answers: Callable[..., list[str]]) -> None:
    offered = [request(name, headers=UPGRADE) for name in "bcd"]

    assert answers(request("a") + b"".join(offered) + LAST) == ["200 a", "200 b", "200 c", "200 d", "200"]


@pytest.mark.parametrize("at", ["grade:", "pgrade, HTTP2", "\r\n\r\n"])
def test_offer_to_upgrade_may_come_in_two_pieces(answers: Callable[..., list[str]], at: str) -> None:
    offered = request("a", headers=UPGRADE)
    cut = offered.index(at.encode())

    assert answers(offered[:cut], offered[cut:] + request("b") + LAST, pause=0.1) == ["200 a", "200 b", "200"]


def test_upgrade_may_be_offered_with_a_body_in_chunks(answers: Callable[..., list[str]]) -> None:
    offered = CHUNKED[:-2] + UPGRADE.encode() + b"\r\n"
    content = body("a")

    assert answers(offered + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) + LAST) == ["200 a", "200"]


def test_connect_is_refused(answers: Callable[..., list[str]]) -> None:
    assert answers(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + LIVE) == ["400"]


def test_trailers_are_no_headers(answers: Callable[..., list[str]]) -> None:
    content = body("a")
    sent = CHUNKED + b"%x\r\n%b\r\n0\r\nContent-Encoding: br\r\nX-Request-Timeout-Ms: rubbish\r\n\r\n" % (len(content), content)

    assert answers(request("b", model="slow") + sent + LAST) == ["200 b", "200 a", "200"]


def test_trailers_without_end_are_refused(answers: Callable[..., list[str]]) -> None:
    assert answers(CHUNKED + b"2\r\n{}\r\n0\r\n", *[b"X-Trailer: " + b"a" * 20_000 + b"\r\n"] * 4, pause=0.05) == ["431"]


def test_address_may_name_the_host_alone(answers: Callable[..., list[str]]) -> None:
    assert answers(LAST.replace(b"/v2/health/live", b"http://a")) == ["404"]


@pytest.mark.parametrize("size", [99, 1 << 16, 1 << 21])
def test_body_that_was_asked_for_leave_and_got_none_is_not_waited_for(connection: socket.socket, size: int) -> None:
    """Its client need not send it, and what it sends next would be taken for it."""
    head = b"POST /v2/models/unknown/infer HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % size
    connection.sendall(head)
    received = b""
    while piece := connection.recv(1 << 16):
        received += piece

    assert received.startswith(b"HTTP/1.1 404")
    assert b"\r\nconnection: close\r\n" in received


def test_body_that_came_without_waiting_for_leave_costs_no_connection(answers: Callable[..., list[str]]) -> None:
    sent = request("a", model="unknown", headers="Expect: 100-continue\r\n")

    assert answers(sent + request("b", headers="Expect: 100-continue\r\n") + LAST) == ["404", "200 b", "200"]
