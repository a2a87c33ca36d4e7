"""The calls of models, which pass the framework by."""

import asyncio
from typing import Any

import pytest
from litestar.types import HTTPScope, Message, Receive, Scope, Send

from service.errors import ModelFailed
from service.routes.mounts import Mounts


async def unused() -> Any:
    raise AssertionError


def called(path: str, kind: str = "http") -> tuple[str, str]:
    """Return who was called, and with which path."""
    found: list[tuple[str, str]] = []

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        found.append(("the application", scope.get("path", "")))

    async def mount(_scope: HTTPScope, _receive: Receive, _send: Send, path: str) -> None:
        found.append(("the mount", path))

    asyncio.run(Mounts(application, {"/models": mount})({"type": kind, "path": path}, unused, unused))  # type: ignore[arg-type]
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


def test_what_is_no_request_is_left_to_the_application() -> None:
    assert called("/models", "lifespan") == ("the application", "/models")


@pytest.mark.parametrize(
    ("error", "status"), [(ModelFailed("a", 1, "broken."), 500), (RuntimeError("a mistake"), 500), (KeyError("a"), 500)]
)
def test_every_error_becomes_an_answer(error: Exception, status: int) -> None:
    sent: list[Message] = []

    async def mount(_scope: HTTPScope, _receive: Receive, _send: Send, _path: str) -> None:
        raise error

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "POST", "path": "/models/a", "raw_path": b"/models/a"}
    asyncio.run(Mounts(unused, {"/models": mount})(scope, unused, send))  # type: ignore[arg-type]

    assert sent[0]["status"] == status  # type: ignore[typeddict-item]
