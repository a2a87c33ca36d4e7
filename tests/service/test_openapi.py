import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings

METHODS = {"get", "post", "put", "delete"}
UNDESCRIBED = {"/v1/models", "/models", "/schema/openapi.json", "/v2/models", "/docs", "/docs/{part:str}"}
ALIAS = "/schema/openapi.json"  # where Litestar applications usually have it


@pytest.fixture(scope="module")
def document(server: Any) -> dict[str, Any]:
    """Return the document as the server gives it."""
    answer: dict[str, Any] = server.get("/openapi.json").json()
    return answer


def nodes(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from nodes(inner)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield path, method, item[method]


def test_document_says_what_it_is(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "Axon"
    assert document["info"]["version"]


def test_document_is_also_where_litestar_has_it(document: dict[str, Any], server: Any) -> None:
    assert server.get(ALIAS).json() == document


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = {node["$ref"] for node in nodes(document) if isinstance(node, dict) and "$ref" in node}

    assert references
    for reference in references:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target["type"] == "object"


def test_every_operation_has_a_summary_and_described_answers(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert operation["summary"], (path, method)
        assert "200" in operation["responses"]
        for answer in operation["responses"].values():
            assert answer["description"]
            assert answer["content"]


def test_every_parameter_of_a_path_is_described(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        assert [parameter["name"] for parameter in item.get("parameters", [])] == re.findall(r"\{(\w+)\}", path)


def test_every_route_of_the_application_is_described(document: dict[str, Any], tmp_path: Path) -> None:
    """The mounts below /v2/models, /v1/models and /models are described by the paths in them."""
    app = create_app(Settings(repository=str(tmp_path)))
    described = {(path, method.upper()) for path, method, _operation in operations(document)}

    for route in app.routes:
        for method in {"GET", "POST"} & set(getattr(route, "methods", ())):
            assert (route.path.replace(":str}", "}"), method) in described or route.path in UNDESCRIBED
    assert {path for path, _method in described if path.startswith("/v2/models")} == {
        "/v2/models",
        "/v2/models/stats",
        *(
            f"/v2/models/{{model_name}}{version}{action}"
            for version in ("", "/versions/{model_version}")
            for action in ("", "/ready", "/config", "/stats", "/infer")
        ),
    }


def test_every_described_path_exists(document: dict[str, Any], server: Any) -> None:
    for path, method, _operation in operations(document):
        url = server.url + path.format(model_name="affine", model_version="1", model_label="stable")

        assert server.http.request(method, url, json={}).status_code not in {404, 405}, path


def test_calls_of_tensorflow_serving_and_of_people_are_described(document: dict[str, Any]) -> None:
    ways = ("", "/versions/{model_version}", "/labels/{model_label}")
    calls = ("", "/metadata", ":predict", ":classify", ":regress")

    assert {path for path in document["paths"] if path.startswith(("/v1/models", "/models"))} == {
        "/v1/models",
        *(f"/v1/models/{{model_name}}{way}{call}" for way in ways for call in calls),
        *(f"/models/{{model_name}}{way}/predict" for way in ways),
    }


@pytest.mark.parametrize("path", ["/v1/models/{model_name}:predict", "/models/{model_name}/predict"])
def test_example_rows_are_accepted(path: str, document: dict[str, Any], server: Any) -> None:
    examples = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]

    assert {"affine", "summed", "strings", "picture"} <= examples.keys()
    for name, example in examples.items():
        answer = server.http.post(server.url + path.format(model_name=name), json=example["value"])
        assert answer.status_code == 200, (name, answer.text)


def test_examples_are_accepted(document: dict[str, Any], server: Any) -> None:
    content = document["paths"]["/v2/models/{model_name}/infer"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]

    assert {"affine", "summed", "strings", "picture"} <= examples.keys()
    for name, example in examples.items():
        assert server.infer(name, example["value"]).status_code == 200, name


def test_what_may_be_null_is_described_so(document: dict[str, Any]) -> None:
    """The calls of the repository take it for absent."""
    index = document["paths"]["/v2/repository/index"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    requests_of = [document["components"]["schemas"][name] for name in ("LoadRequest", "UnloadRequest")]

    assert "null" in index["properties"]["ready"]["type"]
    assert all("null" in each["properties"]["parameters"]["type"] for each in requests_of)


def test_page_needs_nothing_from_elsewhere(server: Any) -> None:
    page = server.get("/docs")
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"https?:|//", page.text)
    assert [part for part in parts if part != "data:,"] == ["docs/swagger-ui.css", "docs/swagger-ui-bundle.js"]
    for part in ("docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "openapi.json"):
        assert server.get("/" + part).status_code == 200


@pytest.mark.parametrize("part", ["swagger-ui.css", "swagger-ui-bundle.js"])
def test_part_of_the_page_is_the_same_compressed_or_not(part: str, server: Any) -> None:
    url = f"{server.url}/docs/{part}"
    compressed = server.http.get(url, headers={"Accept-Encoding": "gzip"})
    plain = server.http.get(url, headers={"Accept-Encoding": "identity"})

    assert compressed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert plain.content == compressed.content
    assert len(plain.content) > 100_000


@pytest.mark.parametrize("part", ["LICENSE", "..%2fdocumentation.py", "nothing.js"])
def test_page_gives_out_no_other_file(part: str, server: Any) -> None:
    assert server.get(f"/docs/{part}").status_code == 404
