"""The requests of TensorFlow Serving's REST documentation, in each of their forms, against a real server process.

Rules: github.com/tensorflow/serving, tensorflow_serving/g3doc/api_rest.md.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from service.repository.datatypes import DATATYPES
from service.repository.signature import Signature, TensorSpec

IMAGE = "aW1hZ2UgYnl0ZXM="  # "image bytes"
SIGNALS = [
    {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
    {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
]
COLUMNS = {name: [row[name] for row in SIGNALS] for name in SIGNALS[0]}


def half_plus_three(graphs: Any, shape: list[str | int]) -> Any:
    nodes = [helper.make_node("Mul", ["x", "half"], ["h"]), helper.make_node("Add", ["h", "three"], ["y"])]
    constants = {"half": np.array(0.5, np.float32), "three": np.array(3, np.float32)}
    return graphs.build(nodes, {"x": ("FP32", shape)}, {"y": ("FP32", shape)}, **constants)


def copies(graphs: Any, **tensors: tuple[str, list[str | int]]) -> Any:
    """Build a model that gives back each input as `<name>_out`, or under its name with `_bytes` at the end."""
    names = {name: name.replace("_in", "") if name.endswith("_bytes_in") else f"{name}_out" for name in tensors}
    nodes = [helper.make_node("Identity", [name], [out]) for name, out in names.items()]
    return graphs.build(nodes, tensors, {names[name]: spec for name, spec in tensors.items()})


@pytest.fixture(scope="module")
def serving_repository(
    tmp_path_factory: pytest.TempPathFactory, graphs: Any, save: Callable[..., Path], publish_graph: Callable[..., Any]
) -> Path:
    """Build models like those of the documentation."""
    root = tmp_path_factory.mktemp("serving")
    for version in (1, 2):
        save(half_plus_three(graphs, ["n"]), root / "half_plus_three" / str(version))
    (root / "half_plus_three" / "model.toml").write_text('versions = { policy = "all" }\nlabels = { stable = 1, canary = 2 }')
    save(half_plus_three(graphs, ["n", 1]), root / "column" / "1")
    save(half_plus_three(graphs, [2, 3]), root / "fixed" / "1")
    save(copies(graphs, tag=("BYTES", ["n"]), signal=("INT64", ["n", 5]), sensor=("FP32", ["n", 2, 2])), root / "signals" / "1")
    save(copies(graphs, image_bytes_in=("BYTES", ["n"]), caption=("BYTES", ["n"])), root / "captions" / "1")
    save(copies(graphs, tag=("BYTES", ["n"])), root / "tags" / "1")
    save(copies(graphs, a=("FP32", ["n"]), b=("FP32", ["m"])), root / "lengths" / "1")
    save(graphs.logarithm(), root / "logarithm" / "1")
    for datatype in DATATYPES:
        if datatype != "BF16":
            save(graphs.identity(datatype), root / f"identity_{datatype.lower()}" / "1")
    publish_graph(
        graphs.affine(),
        root / "colours",
        Signature(
            (TensorSpec("x", "FP32", (-1, 4), features=("a", "b", "c", "d")),),
            (TensorSpec("y", "FP32", (-1, 3), labels=("red", "green", "blue")),),
        ),
    )
    (root / "broken" / "1").mkdir(parents=True)
    (root / "broken" / "1" / "model.onnx").write_bytes(b"no graph")
    (root / "empty").mkdir()
    return root


@pytest.fixture(scope="module")
def serving(running: Callable[..., AbstractContextManager[Any]], serving_repository: Path) -> Iterator[Any]:
    """Run the server."""
    with running(serving_repository) as started:
        yield started


@pytest.fixture
def post(serving: Any) -> Callable[..., Any]:
    """Return a function that posts to `/v1/models/<rest>`: any JSON, or bytes as they are."""

    def send(rest: str, body: Any, **headers: str) -> Any:
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
        return serving.http.post(f"{serving.url}/v1/models/{rest}", headers=headers, timeout=60, **content)

    return send


def version_status(version: str, state: str = "AVAILABLE", code: str = "OK", message: str = "") -> dict[str, Any]:
    return {"version": version, "state": state, "status": {"error_code": code, "error_message": message}}


@pytest.mark.parametrize(
    ("address", "body", "answer"),
    [
        pytest.param(
            "half_plus_three:predict", {"instances": [1.0, 2.0, 5.0]}, {"predictions": [3.5, 4.0, 5.5]}, id="rows without names"
        ),
        pytest.param("half_plus_three:predict", {"instances": [{"x": 1.0}]}, {"predictions": [3.5]}, id="rows with names"),
        pytest.param("half_plus_three:predict", {"inputs": [1.0, 2.0]}, {"outputs": [3.5, 4.0]}, id="column without name"),
        pytest.param("half_plus_three:predict", {"inputs": {"x": [1.0]}}, {"outputs": [3.5]}, id="column with name"),
        pytest.param("half_plus_three:PREDICT", {"instances": [1.0]}, {"predictions": [3.5]}, id="verb in capitals"),
        pytest.param("half_plus_three/versions/1:predict", {"instances": [1.0]}, {"predictions": [3.5]}, id="version"),
        pytest.param("half_plus_three/labels/stable:predict", {"instances": [1.0]}, {"predictions": [3.5]}, id="label"),
        pytest.param(
            "half_plus_three:predict",
            {"signature_name": "serving_default", "instances": [1.0]},
            {"predictions": [3.5]},
            id="signature name",
        ),
        pytest.param("half_plus_three:predict", {"signature_name": "", "instances": [1]}, {"predictions": [3.5]}, id="empty name"),
        pytest.param("column:predict", {"instances": [[1.0], [2.0]]}, {"predictions": [[3.5], [4.0]]}, id="rows of one value"),
        pytest.param("column:predict", {"instances": [1.0, 2.0]}, {"predictions": [[3.5], [4.0]]}, id="scalars for such rows"),
        pytest.param(
            "fixed:predict",
            {"inputs": [[0, 2, 4], [6, 8, 10]]},
            {"outputs": [[3, 4, 5], [6, 7, 8]]},
            id="columns of a model without batch axis",
        ),
        pytest.param("tags:predict", {"instances": ["foo", "bar", "baz"]}, {"predictions": ["foo", "bar", "baz"]}, id="strings"),
        pytest.param(
            "signals:predict",
            {"instances": SIGNALS},
            {"predictions": [{f"{name}_out": value for name, value in row.items()} for row in SIGNALS]},
            id="rows of several inputs and outputs",
        ),
        pytest.param(
            "signals:predict",
            {"inputs": COLUMNS},
            {"outputs": {f"{name}_out": column for name, column in COLUMNS.items()}},
            id="columns of several inputs and outputs",
        ),
        pytest.param(
            "captions:predict",
            {
                "instances": [
                    {"image_bytes_in": {"b64": IMAGE}, "caption": "seaside"},
                    {"image_bytes_in": {"b64": ""}, "caption": "mountains"},
                ]
            },
            {
                "predictions": [
                    {"image_bytes": {"b64": IMAGE}, "caption_out": "seaside"},
                    {"image_bytes": {"b64": ""}, "caption_out": "mountains"},
                ]
            },
            id="bytes in rows",
        ),
        pytest.param(
            "captions:predict",
            {"inputs": {"image_bytes_in": [{"b64": IMAGE}], "caption": ["seaside"]}},
            {"outputs": {"image_bytes": [{"b64": IMAGE}], "caption_out": ["seaside"]}},
            id="bytes in columns",
        ),
        pytest.param(
            "lengths:predict",
            {"inputs": {"a": [1, 2, 3], "b": [1]}},
            {"outputs": {"a_out": [1, 2, 3], "b_out": [1]}},
            id="columns of different lengths",
        ),
        pytest.param(
            "half_plus_three:regress",
            {"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]},
            {"results": [3.5, 4.0]},
            id="regress",
        ),
        pytest.param("column:regress", {"examples": [{"x": [1.0]}]}, {"results": [3.5]}, id="regress with a list for a feature"),
        pytest.param(
            "colours:classify",
            {"context": {"a": 0, "b": 0}, "examples": [{"c": 0, "d": 10}, {"b": 10, "c": [0], "d": 0}]},
            {"results": [[["red", 9], ["green", 10], ["blue", 11]], [["red", 3], ["green", 4], ["blue", 5]]]},
            id="classify with a context that an example overrides",
        ),
        pytest.param(
            "colours:classify",
            {"examples": [{"x": [0, 0, 0, 10]}]},
            {"results": [[["red", 9], ["green", 10], ["blue", 11]]]},
            id="classify a tensor",
        ),
        pytest.param(
            "colours:predict", {"instances": [{"d": 10, "c": 0, "b": 0, "a": 0}]}, {"predictions": [[9, 10, 11]]}, id="features"
        ),
    ],
)
def test_request_of_the_documentation_is_answered(address: str, body: Any, answer: Any, post: Callable[..., Any]) -> None:
    response = post(address, body)

    assert response.json() == answer
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        pytest.param("BOOL", [[True, False]], id="BOOL"),
        pytest.param("FP16", [[0.5, -65504.0]], id="FP16"),
        pytest.param("FP32", [[0.1, 16777216.0]], id="FP32"),
        pytest.param("FP64", [[0.1, 1.7976931348623157e308]], id="FP64"),
        pytest.param("BYTES", [['ä\n"', ""]], id="BYTES"),
        *(
            pytest.param(
                f"{kind}INT{bits}", [[0 if kind else -(2 ** (bits - 1)), 2 ** (bits - (not kind)) - 1]], id=f"{kind}INT{bits}"
            )
            for kind in ("", "U")
            for bits in (8, 16, 32, 64)
        ),
    ],
)
def test_every_datatype_comes_back_exactly(datatype: str, values: Any, post: Callable[..., Any]) -> None:
    name = f"identity_{datatype.lower()}:predict"

    assert post(name, {"instances": values}).json() == {"predictions": values}
    assert post(name, {"inputs": {"x": values}}).json() == {"outputs": values}


def test_tokens_that_are_no_json_are_taken_and_given(post: Callable[..., Any]) -> None:
    response = post("identity_fp32:predict", b'{"instances": [[NaN, -Infinity], [Infinity, 0.1]]}')

    assert response.content == b'{"predictions":[[NaN,-Infinity],[Infinity,0.1]]}'
    assert post("logarithm:predict", {"inputs": [[0.0, 1.0]]}).content == b'{"outputs":[[-Infinity,0.0]]}'


def test_times_version_and_id_stand_in_the_headers(post: Callable[..., Any]) -> None:
    response = post("half_plus_three:predict", {"instances": [1.0]}, **{"X-Request-Id": "mine"})

    assert response.headers["x-request-id"] == "mine"
    assert response.headers["x-model-version"] == "2"
    assert {part.split(";")[0].strip() for part in response.headers["server-timing"].split(",")} == {"queue", "compute", "total"}


def test_status_lists_the_versions(serving: Any) -> None:
    assert serving.get("/v1/models/half_plus_three").json() == {
        "name": "half_plus_three",
        "ready": True,
        "model_version_status": [version_status("2"), version_status("1")],
    }
    for way in ("versions/1", "versions/01", "labels/stable"):
        one = serving.get(f"/v1/models/half_plus_three/{way}").json()
        assert (one["ready"], one["model_version_status"]) == (True, [version_status("1")])


def test_status_says_why_a_model_does_not_serve(serving: Any) -> None:
    status = serving.get("/v1/models/broken").json()
    (version,) = status["model_version_status"]

    assert (status["ready"], version["version"], version["state"]) == (False, "1", "END")
    assert "model.onnx" in version["status"]["error_message"]
    assert serving.get("/v1/models/broken/versions/1").json() == status
    assert serving.get("/v1/models/empty").json() == {"name": "empty", "ready": False, "model_version_status": []}


@pytest.mark.parametrize("version", ["3", "0", "01x", "x", "9" * 5000])
def test_status_of_an_unknown_version_is_a_404(serving: Any, version: str) -> None:
    response = serving.get(f"/v1/models/half_plus_three/versions/{version}")

    assert (response.status_code, response.json()["code"]) == (404, "version_not_found")


def test_metadata_is_a_signature_of_tensorflow(serving: Any) -> None:
    def info(name: str, dtype: str, *sizes: str) -> dict[str, Any]:
        dims = [{"size": size, "name": ""} for size in sizes]
        return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}

    expected = {
        "model_spec": {"name": "signals", "signature_name": "", "version": "1"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": {
                        "inputs": {
                            "tag": info("tag", "DT_STRING", "-1"),
                            "signal": info("signal", "DT_INT64", "-1", "5"),
                            "sensor": info("sensor", "DT_FLOAT", "-1", "2", "2"),
                        },
                        "outputs": {
                            "tag_out": info("tag_out", "DT_STRING", "-1"),
                            "signal_out": info("signal_out", "DT_INT64", "-1", "5"),
                            "sensor_out": info("sensor_out", "DT_FLOAT", "-1", "2", "2"),
                        },
                        "method_name": "tensorflow/serving/predict",
                    }
                }
            }
        },
    }

    assert serving.get("/v1/models/signals/metadata").json() == expected
    assert serving.get("/v1/models/signals/versions/1/metadata").json() == expected
    stable = serving.get("/v1/models/half_plus_three/labels/stable/metadata").json()
    assert stable["model_spec"]["version"] == "1"


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [("bool", "DT_BOOL"), ("fp16", "DT_HALF"), ("fp64", "DT_DOUBLE"), ("uint16", "DT_UINT16"), ("int8", "DT_INT8")],
)
def test_datatypes_have_the_names_of_tensorflow(datatype: str, dtype: str, serving: Any) -> None:
    metadata = serving.get(f"/v1/models/identity_{datatype}/metadata").json()

    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == dtype


def test_models_that_are_ready_are_listed(serving: Any) -> None:
    names = serving.get("/v1/models").json()["models"]

    assert {"half_plus_three", "signals"} <= set(names)
    assert "broken" not in names


@pytest.mark.parametrize(
    ("address", "body", "status", "message"),
    [
        pytest.param("half_plus_three:predict", b"{", 400, "not valid JSON", id="broken JSON"),
        pytest.param("half_plus_three:predict", b"", 400, "not valid JSON", id="empty body"),
        pytest.param("half_plus_three:predict", b"[1]", 400, "must be a JSON object", id="body a list"),
        pytest.param("half_plus_three:predict", {}, 400, "neither of 'instances' and 'inputs'", id="neither"),
        pytest.param("half_plus_three:predict", {"instances": [1], "inputs": [1]}, 400, "both of 'instances'", id="both"),
        pytest.param("half_plus_three:predict", {"instances": 1}, 400, "'instances' must be a list", id="instances a number"),
        pytest.param("half_plus_three:predict", {"instances": []}, 400, "at least one row", id="no instances"),
        pytest.param(
            "half_plus_three:predict", {"signature_name": "other", "instances": [1]}, 400, "no signature 'other'", id="signature"
        ),
        pytest.param(
            "half_plus_three:predict", {"signature_name": 1, "instances": [1]}, 400, "must be a string", id="signature a number"
        ),
        pytest.param("half_plus_three:predict", {"instances": ["a"]}, 400, 'instances[0] is "a"; FP32', id="wrong type"),
        pytest.param("half_plus_three:predict", {"instances": [[1], [2, 3]]}, 400, "instances[1] has 2 entries", id="ragged"),
        pytest.param("half_plus_three:predict", {"instances": [[1]]}, 400, "has shape [1, 1]; expected [-1]", id="shape"),
        pytest.param("fixed:predict", {"inputs": [1, 2, 3]}, 400, "has shape [3]; expected [2, 3]", id="shape of columns"),
        pytest.param("column:predict", {"inputs": 1}, 400, "has shape []; expected [-1, 1]", id="batch axis missing"),
        pytest.param("lengths:predict", {"instances": [{"a": [1, 2], "b": 1}]}, 400, "shape", id="rows of other shapes"),
        pytest.param("signals:predict", {"instances": [1]}, 400, "takes 3 inputs", id="no names for several inputs"),
        pytest.param("signals:predict", {"instances": [{"tag": "a"}]}, 400, "'signal', 'sensor' are missing", id="inputs missing"),
        pytest.param("tags:predict", {"instances": [{"tags": "a"}]}, 400, "Did you mean 'tag'", id="misspelt"),
        pytest.param("tags:predict", {"instances": [{"b64": "/w=="}]}, 400, "no UTF-8", id="bytes that are no text"),
        pytest.param("signals:regress", {"examples": [{}]}, 501, "one number a row", id="regress without one output"),
        pytest.param(
            "half_plus_three:classify", {"examples": [{"x": 1}]}, 501, "0 outputs with labels", id="classify without labels"
        ),
        pytest.param("colours:classify", {"examples": []}, 400, "at least one row", id="no examples"),
        pytest.param("colours:classify", {"examples": [1]}, 400, "must be a list of objects", id="example a number"),
        pytest.param("colours:classify", {}, 400, "must be a list of objects", id="no list of examples"),
        pytest.param("colours:classify", {"context": 1, "examples": [{}]}, 400, "'context' must be", id="context a number"),
        pytest.param("colours:classify", {"examples": [{"a": 1}]}, 400, "'b', 'c', 'd' are missing", id="features missing"),
        pytest.param("unknown:predict", {"instances": [1]}, 404, "'unknown' is not known", id="unknown model"),
        pytest.param("half_plus_three/versions/9:predict", {"instances": [1]}, 404, "no version '9'", id="unknown version"),
        pytest.param("half_plus_three/versions/x:predict", {"instances": [1]}, 404, "no version 'x'", id="version no number"),
        pytest.param("half_plus_three/labels/x:predict", {"instances": [1]}, 404, "'x'", id="unknown label"),
        pytest.param("half_plus_three/versions/1/labels/stable:predict", {"instances": [1]}, 400, "both", id="version and label"),
        pytest.param("half_plus_three:explain", {"instances": [1]}, 404, "nothing at", id="unknown verb"),
        pytest.param("half_plus_three", {"instances": [1]}, 405, "Use GET", id="no verb"),
        pytest.param("half_plus_three/metadata", {}, 405, "Use GET", id="metadata posted"),
        pytest.param("broken:predict", {"instances": [1]}, 503, "is not ready", id="model that does not serve"),
    ],
)
def test_mistake_has_its_status_and_message(
    address: str, body: Any, status: int, message: str, post: Callable[..., Any], serving: Any
) -> None:
    response = post(address, body)

    assert (response.status_code, message in response.json()["error"]) == (status, True), response.text
    assert "Traceback" not in serving.log


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/v1/models/unknown", 404, id="unknown model"),
        pytest.param("/v1/models/unknown/metadata", 404, id="metadata of an unknown model"),
        pytest.param("/v1/models/half_plus_three/versions/9", 404, id="unknown version"),
        pytest.param("/v1/models/half_plus_three/labels/x", 404, id="unknown label"),
        pytest.param("/v1/models/half_plus_three:predict", 405, id="predict by GET"),
        pytest.param("/v1/models/a/b/c", 404, id="no such path"),
        pytest.param("/v1/models/broken/metadata", 503, id="metadata of a model that does not serve"),
    ],
)
def test_what_cannot_be_got_has_its_status(path: str, status: int, serving: Any) -> None:
    response = serving.get(path)

    assert response.status_code == status
    assert response.json()["error"]


def test_rows_of_a_model_without_rows_are_refused(post: Callable[..., Any]) -> None:
    """Its outputs happen to have as many entries as there were rows only if they have a first axis of that size."""
    assert post("fixed:predict", {"instances": [[0, 2, 4], [6, 8, 10]]}).json() == {"predictions": [[3, 4, 5], [6, 7, 8]]}
    response = post("fixed:predict", {"instances": [[0, 2, 4]]})
    assert (response.status_code, "expected [2, 3]" in response.json()["error"]) == (400, True)


def test_deadline_is_kept(post: Callable[..., Any]) -> None:
    response = post("half_plus_three:predict", {"instances": [1.0]}, **{"X-Request-Timeout-Ms": "0.001"})

    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert post("half_plus_three:predict", {"instances": [1.0]}, **{"X-Request-Timeout-Ms": "soon"}).status_code == 400


def test_body_is_taken_compressed(post: Callable[..., Any]) -> None:

    body = gzip.compress(json.dumps({"instances": [1.0]}).encode())

    assert post("half_plus_three:predict", body, **{"Content-Encoding": "gzip"}).json() == {"predictions": [3.5]}
    assert post("half_plus_three:predict", body, **{"Content-Encoding": "br"}).status_code == 415
