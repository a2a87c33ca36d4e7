"""Rows and columns of JSON as a signature has them: plain values, named features, pictures."""

import base64
import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import DecodedTooLarge, InvalidRequest
from service.protocols.budget import Budget
from service.protocols.features import ModelInputs
from service.protocols.json_inputs import JsonInputs
from service.protocols.json_values import Document
from service.repository.signature import Signature, TensorSpec

FLOWERS = Signature((TensorSpec("x", "FP32", (-1, 2), features=("length", "width"), missing=True),), ())
PEOPLE = Signature(
    (
        TensorSpec("sex", "BYTES", (-1,), missing=True),
        TensorSpec("age", "FP32", (-1, 1), missing=True),
        TensorSpec("children", "INT64", (-1,)),
    ),
    (),
)
WORDS = Signature((TensorSpec("text", "BYTES", (-1,)), TensorSpec("image", "UINT8", (-1, 2, 2))), ())
ROWS = Signature((TensorSpec("x", "FP32", (-1, 2)),), ())


def reader(value: Any, signature: Signature, *, limit: int = 10_000) -> tuple[JsonInputs, Any]:
    document = Document(json.dumps(value).encode())
    return JsonInputs(document, "m", signature, Budget(limit)), document.root


def rows(value: Any, signature: Signature, **options: int) -> ModelInputs:
    reading, root = reader(value, signature, **options)
    return reading.rows(root)[0]


def columns(value: Any, signature: Signature) -> ModelInputs:
    reading, root = reader(value, signature)
    return reading.columns(root)


def picture(*values: int) -> dict[str, str]:
    stream = BytesIO()
    Image.fromarray(np.array(values, np.uint8).reshape(2, 2)).save(stream, "PNG")
    return {"b64": base64.b64encode(stream.getvalue()).decode()}


def test_features_are_put_in_the_order_of_the_signature() -> None:
    found = rows([{"width": 2, "length": 1}, {"length": 3, "width": 4.5}], FLOWERS)

    np.testing.assert_array_equal(found.arrays["x"], np.array([[1, 2], [3, 4.5]], np.float32), strict=True)
    assert not found.missing


def test_input_is_taken_whole_by_its_own_name() -> None:
    assert rows([{"x": [1, 2]}], FLOWERS).arrays["x"].tolist() == [[1, 2]]
    assert columns({"x": [[1, 2]]}, FLOWERS).arrays["x"].tolist() == [[1, 2]]
    assert rows([[1, 2]], FLOWERS).arrays["x"].tolist() == [[1, 2]]


def test_feature_that_is_null_or_left_out_is_missing() -> None:
    found = rows([{"length": 1, "width": None}, {"length": 3}], FLOWERS)

    np.testing.assert_array_equal(found.arrays["x"], np.array([[1, np.nan], [3, np.nan]], np.float32))
    assert found.missing == {"x"}


def test_each_column_has_its_datatype() -> None:
    found = rows([{"sex": "f", "age": 29, "children": 2**62}, {"sex": "m", "age": 3.5, "children": 0}], PEOPLE)

    assert found.arrays["sex"].tolist() == ["f", "m"]
    np.testing.assert_array_equal(found.arrays["age"], np.array([[29], [3.5]], np.float32), strict=True)
    np.testing.assert_array_equal(found.arrays["children"], np.array([2**62, 0]), strict=True)


def test_column_that_no_row_has_is_missing_throughout() -> None:
    found = rows([{"children": 0}, {"children": 1}], PEOPLE)

    assert found.arrays["sex"].tolist() == ["", ""]
    assert np.isnan(found.arrays["age"]).tolist() == [[True], [True]]
    assert found.missing == {"sex", "age"}


def test_columns_are_read_by_name() -> None:
    found = columns({"sex": ["f", None], "age": [1, 2], "children": [0, 1]}, PEOPLE)

    assert found.arrays["sex"].tolist() == ["f", ""]
    assert found.arrays["age"].shape == (2, 1)
    assert columns({"length": [1, 3], "width": [2, 4]}, FLOWERS).arrays["x"].tolist() == [[1, 2], [3, 4]]


def test_scalar_stands_for_an_axis_of_one() -> None:
    spec = Signature((TensorSpec("x", "FP32", (-1, 1)),), ())

    assert rows([1, 2], spec).arrays["x"].tolist() == [[1], [2]]
    assert columns([1, 2], spec).arrays["x"].tolist() == [[1], [2]]


def test_tensor_and_text_stand_in_one_row() -> None:
    found = rows([{"text": "a", "image": [[1, 2], [3, 4]]}, {"text": {"b64": "Yg=="}, "image": [[5, 6], [7, 8]]}], WORDS)

    assert found.arrays["text"].tolist() == ["a", "b"]
    assert found.arrays["image"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


def test_pictures_are_read_wherever_a_tensor_may_stand() -> None:
    single = Signature((WORDS.inputs[1],), ())
    black_and_white = [[0, 255], [255, 0]]

    for found in (
        rows([picture(0, 255, 255, 0)], single),
        rows([{"image": picture(0, 255, 255, 0)}], single),
        columns([picture(0, 255, 255, 0)], single),
        columns(picture(0, 255, 255, 0), single),
        columns({"image": [picture(0, 255, 255, 0)]}, single),
        rows([{"text": "a", "image": picture(0, 255, 255, 0)}], WORDS),
    ):
        assert found.arrays["image"].tolist() == [black_and_white]


def test_named_tensors_of_many_rows_are_compared_with_the_body_at_a_glance() -> None:
    values = np.arange(60.0).reshape(5, 3, 4).tolist()
    spec = Signature((TensorSpec("x", "FP64", (-1, 3, 4)),), ())

    assert rows([{"x": value} for value in values], spec).arrays["x"].tolist() == values


@pytest.mark.parametrize(
    ("value", "signature", "message"),
    [
        pytest.param([], ROWS, "'instances' must be a list of at least one row", id="no rows"),
        pytest.param({"a": 1}, ROWS, "'instances' must be a list", id="rows an object"),
        pytest.param(
            [{"length": 1, "widht": 2}],
            FLOWERS,
            r"instances\[0\] has 'widht', which model 'm' does not know. Did you mean 'width'\? Model 'm' takes 'length', 'width'.",
            id="misspelt",
        ),
        pytest.param([{"a": 1}], FLOWERS, r"does not know. Model 'm' takes", id="nothing like it"),
        pytest.param([dict.fromkeys("efghijkl", 1)], FLOWERS, r"instances\[0\] has 'e', which", id="the first of several"),
        pytest.param([{"x" * 5_000_000: 1}], FLOWERS, "xxx", id="name of megabytes"),
        pytest.param(
            [{"sex": "f"}], PEOPLE, "'children' is missing. Model 'm' takes 'sex', 'age', 'children'", id="column missing"
        ),
        pytest.param([{"children": 1}, {}], PEOPLE, r"instances\[1\] has no 'children'", id="value missing"),
        pytest.param([{"children": None}], PEOPLE, r"instances\[0\].children is null", id="null where none may be"),
        pytest.param([{"children": 1, "age": "old"}], PEOPLE, r'instances\[0\].age is "old"; FP32 takes numbers', id="wrong type"),
        pytest.param([{"children": 1.5}], PEOPLE, r"instances\[0\].children is 1.5; INT64", id="fraction"),
        pytest.param([{"children": [1]}], PEOPLE, None, id="list for a scalar is a tensor"),
        pytest.param([{"children": 1}, 5], PEOPLE, r"instances\[1\] is 5; the rows before it are objects", id="row no object"),
        pytest.param([[1]], PEOPLE, "'instances' has values without names, but model 'm' takes 3 inputs", id="no names"),
        pytest.param([[1, 2], {"x": 1}], ROWS, r"instances\[1\] is an object among lists", id="object among rows"),
        pytest.param([[1, None]], ROWS, "has null for a value", id="null in a tensor"),
        pytest.param([{"x": [1, None]}], ROWS, "has null for a value", id="null in a named tensor"),
        pytest.param(
            [{"x": [1, 2]}, {"x": [1]}], ROWS, r"instances\[1\].x has shape \[1\], instances\[0\].x has \[2\]", id="shapes"
        ),
        pytest.param([{"x": [1, 2]}, {"x": 1}], ROWS, r"instances\[1\].x has shape \[\]", id="tensor and scalar"),
        pytest.param([{"b64": "AAAA"}], ROWS, "which is no picture", id="picture for rows"),
        pytest.param([{"text": "a", "image": {"b64": "AAAA"}}], WORDS, r"instances\[0\].image is no PNG", id="broken picture"),
        pytest.param([{"text": "a", "image": {"b64": "?"}}], WORDS, r"instances\[0\].image is no valid base64", id="broken base64"),
        pytest.param(
            [{"text": "a", "image": picture(0, 0, 0, 0)}, {"text": "a", "image": 1}],
            WORDS,
            r"instances\[1\].image is 1 among pictures",
            id="number among pictures",
        ),
    ],
)
def test_mistake_in_rows_is_placed(value: Any, signature: Signature, message: str | None) -> None:
    if message is None:
        assert rows(value, signature).arrays["children"].shape == (1, 1)
        return
    with pytest.raises(InvalidRequest, match=message):
        rows(value, signature)


@pytest.mark.parametrize(
    ("value", "signature", "message"),
    [
        pytest.param({"lenght": [1]}, FLOWERS, "inputs has 'lenght'.* Did you mean 'length'", id="misspelt"),
        pytest.param({"length": [1], "width": [1, 2]}, FLOWERS, "no columns of the same length", id="lengths"),
        pytest.param({"length": 1, "width": 1}, FLOWERS, "no columns of the same length", id="scalars for columns"),
        pytest.param({"length": [[1]], "width": [[1]]}, FLOWERS, "no columns of the same length", id="tensors for columns"),
        pytest.param({"age": [1]}, PEOPLE, "'children' is missing", id="column missing"),
        pytest.param({"children": ["a"]}, PEOPLE, r'inputs.children\[0\] is "a"', id="wrong type"),
        pytest.param([1], PEOPLE, "model 'm' takes 3 inputs", id="no names"),
        pytest.param([{"name": "x", "datatype": "FP32"}], ROWS, "request of the Open Inference Protocol", id="another protocol"),
    ],
)
def test_mistake_in_columns_is_placed(value: Any, signature: Signature, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        columns(value, signature)


def test_pictures_of_one_request_share_a_budget() -> None:
    single = Signature((WORDS.inputs[1],), ())
    one = [picture(0, 0, 0, 0)]

    assert rows(one * 5, single, limit=100).arrays["image"].shape == (5, 2, 2)
    with pytest.raises(DecodedTooLarge, match="more than 100 bytes"):
        rows(one * 6, single, limit=100)


def test_row_of_more_names_than_a_model_can_have_is_refused_before_they_are_looked_at() -> None:
    with pytest.raises(InvalidRequest, match="has 2000 names, more than model 'm' knows"):
        rows([dict.fromkeys(map(str, range(2000)), 1)], FLOWERS, limit=1_000_000)
    with pytest.raises(InvalidRequest, match="has 2000 names, more than model 'm' knows"):
        columns({str(index): [1] for index in range(2000)}, FLOWERS)


def test_named_rows_may_take_as_much_memory_as_a_body_may() -> None:
    """In Python a row of JSON takes ten times its size."""
    row = {"length": 1, "width": 2}

    assert rows([row] * 100, FLOWERS).arrays["x"].shape == (100, 2)
    with pytest.raises(DecodedTooLarge):
        rows([row] * 1000, FLOWERS)
