"""Axon's own call over the committed models: names, pictures, arrays and tables in; labels, units, arrays and tables out."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from service.repository.samples import Samples

MODELS = Path(__file__).parents[2] / "models"
LIMIT = 4_000_000
PASSENGER = {"pclass": "1st", "sex": "female", "age": 29.0, "sibsp": 0, "parch": 0}
STREAM = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"


@pytest.fixture(scope="module")
def committed(running: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    """Run a server over the committed models."""
    with running(MODELS, AXON_MAX_BODY_SIZE=str(LIMIT)) as started:
        yield started


@pytest.fixture
def predict(committed: Any) -> Callable[..., Any]:
    """Return a function that posts to `/models/<rest>`: any JSON, or bytes of a type."""

    def send(rest: str, body: Any, kind: str = "application/json", **headers: str) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return committed.http.post(
            f"{committed.url}/models/{rest}", data=content, headers={"content-type": kind} | headers, timeout=60
        )

    return send


@pytest.fixture
def predicted(committed: Any) -> Callable[..., Any]:
    """Return a function that asks `/v1/models/<name>:predict` for rows."""

    def send(name: str, rows: Any) -> Any:
        answer = committed.http.post(f"{committed.url}/v1/models/{name}:predict", json={"instances": rows}, timeout=60)
        assert answer.status_code == 200, answer.text
        return np.array(answer.json()["predictions"])

    return send


def samples(name: str) -> Samples:
    found = Samples.read(MODELS / name / "1")
    assert found is not None
    return found


def image_file(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def stream_of(table: pa.Table) -> bytes:
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet_of(table: pa.Table) -> bytes:
    sink = BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def npy(array: Any) -> bytes:
    stream = BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def rows_of(name: str) -> list[dict[str, Any]]:
    """Give the samples of a table as named values, missing ones as null."""
    inputs = samples(name).inputs
    columns = {key: value.tolist() for key, value in inputs.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [{key: None if str(value) in ("", "nan") else value for key, value in row.items()} for row in rows]


@pytest.mark.parametrize("name", ["titanic", "wine", "diabetes"])
def test_named_values_of_a_table_give_what_was_published(
    name: str, predict: Callable[..., Any], predicted: Callable[..., Any]
) -> None:
    rows = rows_of(name)
    ((_output, expected),) = samples(name).outputs.items()

    (tensor,) = predict(f"{name}/predict", rows).json()["outputs"]
    without_nulls = [{key: value for key, value in row.items() if value is not None} for row in rows]

    np.testing.assert_allclose(np.array(tensor["data"]).reshape(tensor["shape"]), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predicted(name, rows), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predicted(name, without_nulls), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("encode", "kind"), [pytest.param(stream_of, STREAM, id="Arrow"), pytest.param(parquet_of, PARQUET, id="Parquet")]
)
@pytest.mark.parametrize("name", ["titanic", "wine", "diabetes"])
def test_table_gives_what_was_published(name: str, encode: Callable[..., bytes], kind: str, predict: Callable[..., Any]) -> None:
    ((_output, expected),) = samples(name).outputs.items()

    answer = predict(f"{name}/predict", encode(pa.Table.from_pylist(rows_of(name))), kind)
    (tensor,) = answer.json()["outputs"]

    np.testing.assert_allclose(np.array(tensor["data"]).reshape(tensor["shape"]), expected, rtol=1e-4, atol=1e-5)


def test_row_is_told_by_labels_with_scores(predict: Callable[..., Any]) -> None:
    answer = predict("titanic/predict", PASSENGER).json()

    (row,) = answer["predictions"]
    assert (answer["model_name"], answer["model_version"]) == ("titanic", "1")
    assert [found["label"] for found in row["probabilities"]] == ["survived", "died"]
    assert row["probabilities"][0]["score"] == answer["outputs"][0]["data"][1]


def test_row_is_told_by_values_with_units(predict: Callable[..., Any]) -> None:
    answer = predict("diabetes/predict", [{"age": 50, "sex": 1, "bmi": 30}]).json()

    assert answer["predictions"] == [{"target": {"value": answer["outputs"][0]["data"][0], "unit": "points"}}]


def test_as_many_labels_are_given_as_are_asked_for(predict: Callable[..., Any]) -> None:
    def count(address: str) -> int:
        return len(predict(address, [[[0] * 8] * 8]).json()["predictions"][0]["probabilities"])

    assert [count("digits/predict"), count("digits/predict?top=1"), count("digits/predict?top=99")] == [5, 1, 10]


@pytest.mark.parametrize("query", ["top=0", "top=-1", "top=", "top=many", "top=9999999", "tpo=1"])
def test_parameter_that_is_none_is_refused(query: str, predict: Callable[..., Any]) -> None:
    answer = predict(f"titanic/predict?{query}", PASSENGER)

    assert (answer.status_code, "top" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
def test_picture_is_recognised(kind: str, predict: Callable[..., Any], predicted: Callable[..., Any]) -> None:
    """Enlarged, in colour, in a lossy format, it is still the same piece of clothing."""
    published = samples("fashion_mnist_cnn")
    pictures, expected = published.inputs["image"], published.outputs["probabilities"]
    sure = [index for index in range(len(pictures)) if expected[index].max() > 0.99][:4]
    large = [np.repeat(np.repeat(np.repeat(pictures[index], 3, 2), 8, 0), 8, 1) for index in sure]
    files = [
        image_file(pixels, kind.removeprefix("image/").upper(), **({"quality": 95} if "jpeg" in kind else {})) for pixels in large
    ]

    best = [predict("fashion_mnist_cnn/predict?top=1", file, kind).json()["predictions"][0]["probabilities"][0] for file in files]
    encoded = [{"b64": base64.b64encode(file).decode()} for file in files]

    labels = [predict("fashion_mnist_cnn/predict", [[[[0]] * 28] * 28]).json()["outputs"][0]["shape"][1]]
    assert labels == [10]
    assert len(sure) == 4
    np.testing.assert_allclose([found["score"] for found in best], expected[sure].max(axis=1), atol=0.1)
    assert predicted("fashion_mnist_cnn", encoded).argmax(axis=1).tolist() == expected[sure].argmax(axis=1).tolist()
    assert len(predict("fashion_mnist_cnn/predict", {"instances": encoded}).json()["predictions"]) == 4


@pytest.mark.parametrize("name", ["digits", "digits_cnn"])
@pytest.mark.parametrize("encode", [pytest.param(npy, id="npy"), pytest.param(lambda array: npz(image=array), id="npz")])
def test_arrays_give_what_was_published(name: str, encode: Callable[..., bytes], predict: Callable[..., Any]) -> None:
    published = samples(name)
    kind = "application/x-npy" if encode is npy else "application/x-npz"

    body = encode(published.inputs["image"].astype(np.float64))
    answer = predict(f"{name}/predict", body, kind, accept="application/x-npy")
    archive = predict(f"{name}/predict", body, kind, accept="application/x-npz")
    table = predict(f"{name}/predict", body, kind, accept=STREAM)

    expected = published.outputs["probabilities"]
    found = np.load(BytesIO(answer.content), allow_pickle=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert (found.dtype, answer.headers["content-type"]) == (np.float32, "application/x-npy")
    with np.load(BytesIO(archive.content), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["probabilities"], found)
    np.testing.assert_array_equal(pa.ipc.open_stream(table.content).read_all().column("probabilities").to_pylist(), found)


def test_columns_of_an_archive_are_named(predict: Callable[..., Any]) -> None:
    body = npz(pclass=np.array(["1st"]), sex=np.array(["female"]), age=np.array([29.0]), sibsp=np.array([0]), parch=np.array([0]))

    assert predict("titanic/predict", body, "application/zip").json() == predict("titanic/predict", PASSENGER).json()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(PASSENGER, "application/json", id="one row"),
        pytest.param([PASSENGER], "application/json; charset=utf-8", id="list of rows"),
        pytest.param({"instances": [PASSENGER]}, "application/vnd.other+json", id="instances"),
        pytest.param({"inputs": {key: [value] for key, value in PASSENGER.items()}}, "application/json", id="columns"),
        pytest.param(PASSENGER, "application/x-www-form-urlencoded", id="what curl says of any body"),
    ],
)
def test_json_is_taken_in_every_form(body: Any, kind: str, predict: Callable[..., Any]) -> None:
    answer = predict("titanic/predict", body, kind)

    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["probabilities"][0]["label"] == "survived"


def test_version_is_chosen_by_the_address(predict: Callable[..., Any]) -> None:
    assert predict("titanic/versions/1/predict", PASSENGER).status_code == 200
    assert predict("titanic/versions/2/predict", PASSENGER).status_code == 404
    assert predict("titanic/labels/best/predict", PASSENGER).status_code == 404
    assert predict("unknown/predict", PASSENGER).status_code == 404


def test_other_methods_and_paths_are_refused(committed: Any) -> None:
    assert committed.get("/models/titanic/predict").status_code == 405
    assert committed.get("/models/titanic").status_code == 404
    assert committed.get("/models").status_code == 404


def test_kind_of_body_that_is_not_read_is_a_415(predict: Callable[..., Any]) -> None:
    answer = predict("titanic/predict", b"a,b", "text/csv")

    assert answer.status_code == 415
    assert "application/json, image/png, image/jpeg, application/x-npy" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["image/png", "application/x-npy"])
def test_single_tensor_for_a_model_of_several_is_a_415(kind: str, predict: Callable[..., Any]) -> None:
    answer = predict("titanic/predict", b"", kind)

    assert (answer.status_code, "takes 5" in answer.json()["error"]) == (415, True)


def test_answer_that_is_not_there_is_a_406(predict: Callable[..., Any], server: Any) -> None:
    answer = predict("titanic/predict", PASSENGER, accept="text/html")
    several = server.http.post(
        f"{server.url}/models/summed/predict", json={"a": [1, 2], "b": [3, 4]}, headers={"accept": "application/x-npy"}
    )

    assert answer.status_code == 406
    assert f"application/json, application/x-npy, application/x-npz, {STREAM}" in answer.json()["error"]
    assert (several.status_code, "2 outputs" in several.json()["error"]) == (406, True)


@pytest.mark.parametrize(
    ("address", "body", "kind", "status"),
    [
        pytest.param("digits/predict", b"[" * 1_000_000, "application/json", 400, id="a million brackets"),
        pytest.param("digits/predict", b"[" * 900 + b"1" + b"]" * 900, "application/json", 400, id="900 levels"),
        pytest.param("digits/predict", b"[" * 900 + b"NaN" + b"]" * 900, "application/json", 400, id="900 levels with NaN"),
        pytest.param("digits/predict", b"[" + b"9" * 1_000_000 + b"]", "application/json", 400, id="a million digits"),
        pytest.param("digits/predict", b"[NaN," + b"9" * 1_000_000 + b"]", "application/json", 400, id="a million digits with NaN"),
        pytest.param("digits/predict", b"[[[" + b"1," * 1_900_000 + b"1]]]", "application/json", 400, id="two million numbers"),
        pytest.param("digits/predict", b"[" + b"[1]," * 900_000 + b'["a"]]', "application/json", 400, id="a million lists"),
        pytest.param("digits/predict", b"[" + b"[]," * 1_300_000 + b"[]]", "application/json", 400, id="a million empty lists"),
        pytest.param("digits/predict", b"[" + b"{}," * 1_300_000 + b"{}]", "application/json", 413, id="a million empty objects"),
        pytest.param(
            "titanic/predict",
            json.dumps({f"feature{index}": 0 for index in range(200_000)}).encode(),
            "application/json",
            400,
            id="200000 unknown names",
        ),
        pytest.param("titanic/predict", b'{"' + b"age" * 1_300_000 + b'": 1}', "application/json", 400, id="name of megabytes"),
        pytest.param("titanic/predict", b'{"\\u0000\\ud83d\\ude00": 1}', "application/json", 400, id="odd name"),
        pytest.param("digits/predict", image_file(np.zeros((3000, 3000), np.uint8)), "image/png", 413, id="giant picture"),
        pytest.param("digits/predict", npz(image=np.zeros((9, 3000, 3000), np.uint8)), "application/x-npz", 413, id="zip bomb"),
        pytest.param("wine/predict", parquet_of(pa.table({"hue": np.zeros(5_000_000)})), PARQUET, 413, id="Parquet bomb"),
        pytest.param("wine/predict", stream_of(pa.table({"hue": pa.nulls(1 << 24)})), STREAM, 413, id="rows without bytes"),
        pytest.param("wine/predict", stream_of(pa.table({"hue": ["red"]})), STREAM, 400, id="Arrow of the wrong type"),
        pytest.param(
            "titanic/predict", stream_of(pa.table({"sibsp": [None, 1], "parch": [1, 1]})), STREAM, 400, id="Arrow with nulls"
        ),
        pytest.param("digits/predict", b" " * (LIMIT + 1), "application/json", 413, id="body too large"),
    ],
)
def test_hostile_body_is_refused_and_harms_nothing(
    address: str, body: bytes, kind: str, status: int, predict: Callable[..., Any], committed: Any
) -> None:
    answer = predict(address, body, kind)

    assert answer.status_code == status, answer.text[:500]
    assert len(answer.json()["error"]) < 2000
    assert predict("titanic/predict", PASSENGER).status_code == 200
    assert "Traceback" not in committed.log


def test_many_bombs_in_one_body_are_refused_at_the_first(predict: Callable[..., Any]) -> None:
    bomb = {"b64": base64.b64encode(image_file(np.zeros((1900, 1900), np.uint8))).decode()}

    answer = predict("digits/predict", {"instances": [bomb] * 50})

    assert answer.status_code == 413


def test_service_starts_without_reading_pyarrow() -> None:
    """It takes as much memory as the rest, and is an extra."""
    script = "import sys, service.app; sys.exit('pyarrow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], cwd=MODELS.parent, check=False).returncode == 0
