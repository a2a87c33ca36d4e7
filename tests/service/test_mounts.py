"""The calls of models, which pass the framework by."""

import asyncio
from typing import Any

import pytest
from litestar.types import Message

from service.errors import ModelFailed
from service.http.asgi_exchange import AsgiExchange
from service.http.exchange import Exchange
from service.routes.front import Front
from service.routes.mounts import Mounts


async def unused(*_arguments: object) -> Any:
    raise AssertionError


def at(path: str, sent: list[Message] | None = None) -> Exchange:
    """Return a call at this path, whose answer is added to `sent`."""

    async def send(message: Message) -> None:
        if sent is not None:
            sent.append(message)

    scope: Any = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    return AsgiExchange(scope, unused, send)


def called(path: str) -> tuple[str, str]:
    """Return who was called, and with which path."""
    found: list[tuple[str, str]] = []

    async def application(exchange: Exchange) -> None:
        found.append(("the application", exchange.path))

    async def mount(_exchange: Exchange, path: str) -> None:
        found.append(("the mount", path))

    asyncio.run(Mounts(application, {"/models": mount})(at(path)))
    (only,) = found
    return only


@pytest.mark.parametrize(
    ("path", "below"),
    [
        pytest.param("/models", "", id="the path of the mount"),
        pytest.param("/models/", "", id="with a slash at its end"),
        pytest.param("/models/a/predict", "/a/predict", id="below it"),
        pytest.param("//models///a/predict//", "/a/predict", id="with slashes too many"),
    ],
)
def test_what_lies_below_a_mount_is_its_own(path: str, below: str) -> None:
    assert called(path) == ("the mount", below)


@pytest.mark.parametrize("path", ["/modelsmith", "/v2/models", "/", "/model"])
def test_everything_else_is_left_to_the_application(path: str) -> None:
    assert called(path) == ("the application", path)


@pytest.mark.parametrize(
    ("error", "status"), [(ModelFailed("a", 1, "broken."), 500), (RuntimeError("a mistake"), 500), (KeyError("a"), 500)]
)
def test_every_error_becomes_an_answer(error: Exception, status: int) -> None:
    sent: list[Message] = []

    async def mount(_exchange: Exchange, _path: str) -> None:
        raise error

    asyncio.run(Mounts(unused, {"/models": mount})(at("/models/a", sent)))

    assert sent[0]["status"] == status  # type: ignore[typeddict-item]


def test_websocket_of_another_server_is_closed_before_it_opens() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Any = {"type": "websocket", "path": "/v2"}
    asyncio.run(Front(unused).asgi(scope, unused, send))

    assert [message["type"] for message in sent] == ["websocket.close"]


def test_messages_of_an_application_may_leave_out_what_asgi_lets_them_and_stay_its_own() -> None:
    sent: list[Message] = []
    exchange = at("/", sent)
    exchange.added.append((b"x-request-id", b"a"))
    start: Any = {"type": "http.response.start", "status": 204}

    async def answer() -> None:
        await exchange.send(start)
        await exchange.send({"type": "http.response.body"})

    asyncio.run(answer())

    assert sent[0]["headers"] == [(b"x-request-id", b"a")]  # type: ignore[typeddict-item]
    assert "headers" not in start
    assert exchange.size == 0
