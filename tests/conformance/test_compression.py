"""Compressed bodies over the wire: who asks gets it, from a size on, and a bomb is refused unread."""

import gzip
import json
import zlib
from typing import Any

import pytest

LIMIT = 1_000_000  # of the server, in bytes after decompression
SMALLEST = 1000  # answer that is compressed


def request_of(rows: int) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [rows, 2], "datatype": "INT64", "data": [[1, 2]] * rows}]}


def post(server: Any, content: bytes, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.http.post(f"{server.url}/v2/models/identity_int64/infer", data=content, headers=named, timeout=60)


@pytest.mark.parametrize(
    ("rows", "accept", "encoding"),
    [
        pytest.param(1, "gzip", None, id="small"),
        pytest.param(1000, "identity", None, id="not asked for"),
        pytest.param(1000, "br", None, id="asked for another"),
        pytest.param(1000, "gzip, deflate", "gzip", id="gzip"),
        pytest.param(1000, "deflate", "deflate", id="deflate"),
    ],
)
def test_answer_is_compressed_if_it_is_large_and_asked_for(
    rows: int, accept: str, encoding: str | None, conformance_server: Any
) -> None:
    response = post(conformance_server, json.dumps(request_of(rows)).encode(), Accept_Encoding=accept)

    assert response.headers.get("content-encoding") == encoding
    assert response.json()["outputs"][0]["data"] == [1, 2] * rows
    assert (len(response.content) >= SMALLEST) == (rows > 1)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_request_is_read(encoding: str, compress: Any, conformance_server: Any) -> None:
    response = post(conformance_server, compress(json.dumps(request_of(3)).encode()), Content_Encoding=encoding)

    assert response.json()["outputs"][0]["data"] == [1, 2] * 3


def test_size_of_the_json_is_that_before_compression(conformance_server: Any) -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "INT64", "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [tensor]}).encode()
    content = gzip.compress(head + (7).to_bytes(8, "little") + (8).to_bytes(8, "little"))

    response = post(conformance_server, content, Content_Encoding="gzip", Inference_Header_Content_Length=str(len(head)))

    assert response.json()["outputs"][0]["data"] == [7, 8]


def test_limit_is_that_of_the_decompressed_body(conformance_server: Any) -> None:
    bomb = gzip.compress(bytes(100_000_000))
    small = json.dumps(request_of(1)).encode()

    refused = post(conformance_server, bomb, Content_Encoding="gzip")
    exact = post(conformance_server, gzip.compress(small.ljust(LIMIT)), Content_Encoding="gzip")
    beyond = post(conformance_server, gzip.compress(small.ljust(LIMIT + 1)), Content_Encoding="gzip")

    assert len(bomb) < LIMIT
    assert (refused.status_code, exact.status_code, beyond.status_code) == (413, 200, 413)
    assert f"larger than {LIMIT} bytes" in refused.json()["error"]
