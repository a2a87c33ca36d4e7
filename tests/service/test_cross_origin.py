"""Browsers, and the names that a server may be called by."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import requests

PAGE = "https://page.example"
DEADLINE = 30


@pytest.fixture(scope="module")
def open_to_pages(running: Callable[..., AbstractContextManager[Any]], repository: Path) -> Iterator[Any]:
    """Run a server for two pages, and for two names of its own."""
    options = {"AXON_CORS_ORIGINS": f"{PAGE}, https://other.example", "AXON_ALLOWED_HOSTS": "127.0.0.1, Models.Example, [::1]"}
    with running(repository, **options) as server:
        yield server


def preflight(server: Any, origin: str, path: str = "/v2/models/affine/infer") -> requests.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer: requests.Response = server.http.options(server.url + path, headers=headers, timeout=DEADLINE)
    return answer


def test_preflight_of_a_known_page_is_answered(open_to_pages: Any) -> None:
    answer = preflight(open_to_pages, PAGE)

    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert {"authorization", "x-request-timeout-ms"} <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert answer.headers["vary"] == "origin"


def test_answers_to_a_known_page_carry_its_origin_errors_too(open_to_pages: Any, good_request: Any) -> None:
    answers = [
        open_to_pages.infer("affine", good_request, headers={"Origin": PAGE}),
        open_to_pages.infer("affine", b"{", headers={"Origin": PAGE}),
        open_to_pages.infer("unknown", good_request, headers={"Origin": PAGE}),
    ]

    assert [answer.status_code for answer in answers] == [200, 400, 404]
    assert {answer.headers["access-control-allow-origin"] for answer in answers} == {PAGE}
    assert {"server-timing", "x-model-version"} <= set(answers[0].headers["access-control-expose-headers"].split(", "))


@pytest.mark.parametrize("origin", ["https://evil.example", "null", PAGE + ".evil.example", "http://page.example", "*"])
def test_unknown_page_gets_no_mark(open_to_pages: Any, good_request: Any, origin: str) -> None:
    assert "access-control-allow-origin" not in preflight(open_to_pages, origin).headers
    answer = open_to_pages.infer("affine", good_request, headers={"Origin": origin})
    assert "access-control-allow-origin" not in answer.headers


def test_without_the_setting_no_page_gets_a_mark(server: Any, good_request: Any) -> None:
    assert "access-control-allow-origin" not in preflight(server, PAGE).headers
    assert "access-control-allow-origin" not in server.infer("affine", good_request, headers={"Origin": PAGE}).headers


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "models.example", "MODELS.example:80", "[::1]:8000"])
def test_known_host_is_served(open_to_pages: Any, host: str) -> None:
    assert open_to_pages.http.get(open_to_pages.url + "/v2", headers={"Host": host}, timeout=DEADLINE).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "models.example.evil", "localhost", "127.0.0.1.evil.example:8000"])
def test_unknown_host_is_refused_but_for_probes(open_to_pages: Any, host: str) -> None:
    def get(path: str) -> requests.Response:
        answer: requests.Response = open_to_pages.http.get(open_to_pages.url + path, headers={"Host": host}, timeout=DEADLINE)
        return answer

    refused = get("/v2")
    assert (refused.status_code, refused.json()["code"]) == (421, "misdirected_request")
    assert get("/v2/health/live").status_code == 200


def test_page_may_read_why_its_key_is_refused_and_needs_none_to_ask(
    running: Callable[..., AbstractContextManager[Any]], repository: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text("")
    with running(repository, AXON_API_KEYS=str(keys), AXON_CORS_ORIGINS="*") as server:
        refused = server.http.get(server.url + "/v2", headers={"Origin": PAGE}, timeout=DEADLINE)

        assert preflight(server, PAGE).status_code == 204
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == PAGE


def test_metrics_at_a_port_of_their_own_are_given_whatever_the_host(
    running: Callable[..., AbstractContextManager[Any]], repository: Path
) -> None:
    """Prometheus calls by the address of the pod. At the port of the service they would be told to any page."""
    host = {"Host": "10.0.0.7:9000"}
    with running(repository, AXON_METRICS_PORT="0", AXON_ALLOWED_HOSTS="models.example") as server:
        url = server.wait_for(r"metrics on (http://\S+)").group(1)
        apart = requests.get(url, headers=host, timeout=DEADLINE)
    with running(repository, AXON_ALLOWED_HOSTS="models.example") as server:
        together = requests.get(server.url + "/metrics", headers=host, timeout=DEADLINE)

    assert (apart.status_code, together.status_code) == (200, 421)
    assert "axon_" in apart.text
