"""The id of a call: on every answer, harmless, and known to everything that happens because of the call."""

import asyncio
import re
from contextvars import Context
from typing import Any

import pytest

from service.offload import offload
from service.request_context import begin, current_request_id, made_request_id, request_context

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MADE = r"[0-9a-f]{12}-[0-9a-f]+"


@pytest.mark.parametrize("given", ["7", "a" * 128, "8f0e-11.x_~/=+"])
def test_given_id_is_kept(given: str) -> None:
    assert begin(given, None).request_id == given


@pytest.mark.parametrize(
    "given", [None, "", "a b", "a\r\nset-cookie: b", "a\x00", "ü", "a,b", "a" * 129], ids=lambda given: repr(given)[:20]
)
def test_id_that_could_do_harm_is_replaced(given: str | None) -> None:
    assert re.fullmatch(MADE, begin(given, None).request_id)


def test_made_ids_differ() -> None:
    assert len({made_request_id() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param(TRACE, TRACE, id="valid"),
        pytest.param(None, None, id="none"),
        pytest.param(TRACE.upper(), None, id="upper case"),
        pytest.param("ff" + TRACE[2:], None, id="version that cannot be"),
        pytest.param(TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), None, id="trace of zeros"),
        pytest.param(TRACE.replace("00f067aa0ba902b7", "0" * 16), None, id="parent of zeros"),
        pytest.param("a\r\nb", None, id="rubbish"),
    ],
)
def test_only_a_valid_trace_is_passed_on(given: str | None, kept: str | None) -> None:
    assert begin(None, given).traceparent == kept


@pytest.mark.anyio
async def test_work_on_a_thread_knows_its_call() -> None:
    async def call(request_id: str) -> str | None:
        begin(request_id, None)
        await asyncio.sleep(0)
        return await offload(current_request_id)

    assert await asyncio.gather(call("a"), call("b")) == ["a", "b"]


def test_outside_of_a_call_there_is_no_context() -> None:
    nowhere = Context()

    assert nowhere.run(current_request_id) is None
    with pytest.raises(LookupError):
        nowhere.run(request_context)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/v2/health/live", 200, id="health"),
        pytest.param("GET", "/v2", 200, id="server metadata"),
        pytest.param("GET", "/v2/models/affine", 200, id="model metadata"),
        pytest.param("POST", "/v2/repository/index", 200, id="index"),
        pytest.param("GET", "/metrics", 200, id="metrics"),
        pytest.param("GET", "/nothing", 404, id="unknown path"),
        pytest.param("GET", "/v2/models/unknown", 404, id="unknown model"),
        pytest.param("PUT", "/v2", 405, id="wrong method"),
        pytest.param("POST", "/v2/models/affine/infer", 400, id="no body"),
    ],
)
def test_every_answer_has_an_id(method: str, path: str, status: int, server: Any) -> None:
    made = server.http.request(method, server.url + path)
    given = server.http.request(method, server.url + path, headers={"X-Request-Id": "mine", "Traceparent": TRACE})

    assert (made.status_code, given.status_code) == (status, status)
    assert re.fullmatch(MADE, made.headers["x-request-id"])
    assert given.headers["x-request-id"] == "mine"
    assert given.headers["traceparent"] == TRACE
    if status >= 400:
        assert given.json()["request_id"] == "mine"
        assert made.json()["request_id"] == made.headers["x-request-id"]


def test_answer_of_a_model_says_which_version_and_where_the_time_went(server: Any, good_request: dict[str, Any]) -> None:
    response = server.infer("affine", good_request)

    times = dict(re.findall(r"(\w+);dur=([\d.]+)", response.headers["server-timing"]))
    assert response.headers["x-model-version"] == "1"
    assert list(times) == ["queue", "compute", "total"]
    assert float(times["total"]) >= float(times["queue"]) + float(times["compute"])
