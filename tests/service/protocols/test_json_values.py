"""Nested JSON without shape and datatype, and its mistakes."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.errors import MalformedBody
from service.protocols.json_tensors import from_bfloat16
from service.protocols.json_values import Document, decoded, encoded, tensor, within_64_bits
from service.protocols.json_with_nan import written
from service.repository.datatypes import DATATYPES, Datatype, to_numpy

NUMBERS = [datatype for datatype in DATATYPES if datatype not in {"BYTES", "BF16"}]


def read(text: str | bytes, datatype: Datatype) -> tuple[np.ndarray[Any, Any], bool]:
    with within_64_bits():
        document = Document(text.encode() if isinstance(text, str) else text)
        return tensor(document.root, datatype, "x", is_regular=document.is_regular)


@given(st.sampled_from(NUMBERS), st.data())
def test_array_survives_the_way_there_and_back(datatype: Datatype, data: st.DataObject) -> None:
    """NaN and infinities included, in every datatype and shape."""
    shape = data.draw(arrays.array_shapes(max_dims=4, max_side=4))
    array = data.draw(arrays.arrays(to_numpy(datatype), shape))

    found, missing = read(written(array), datatype)

    np.testing.assert_array_equal(found, array, strict=True)
    assert not missing


@given(arrays.arrays(object, arrays.array_shapes(max_dims=3, max_side=3), elements=st.text()))
def test_text_survives_the_way_there_and_back(array: np.ndarray[Any, Any]) -> None:
    found, _missing = read(written(array), "BYTES")

    np.testing.assert_array_equal(found, array, strict=True)


NESTED = st.recursive(
    st.integers(0, 9) | st.sampled_from([1.5, None, "a", True, {"b64": "YQ=="}, {}]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=12,
)


@given(NESTED, st.sampled_from(DATATYPES))
def test_anything_is_a_tensor_of_its_shape_or_a_mistake(value: Any, datatype: Datatype) -> None:
    """What is read as a tensor has as many values, nested alike, as what was sent; nothing else is ever raised."""
    try:
        array, _missing = read(json.dumps(value), datatype)
    except MalformedBody as error:
        assert "x" in str(error)  # noqa: PT017 -- either outcome is fine, any other exception is not
    else:
        assert np.array(value, dtype=object).shape == array.shape


@pytest.mark.parametrize("parser", [pytest.param("", id="simdjson"), pytest.param(" NaN", id="Python's")])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[[1, 2], [3%s]]", r"x\[1\] has 1 entries where the lists before it have 2", id="short row"),
        pytest.param("[[1, 2], [3, 4, 5%s]]", r"x\[1\] has 3 entries", id="long row"),
        pytest.param("[[1, 2], [3, 4, 5], [6%s]]", r"x\[1\] has 3 entries", id="rows that make up for each other"),
        pytest.param("[[1, 2], 3%s]", r"x\[1\] is 3 among lists", id="value among lists"),
        pytest.param("[1, [2%s]]", r"x\[1\] is a list among values", id="list among values"),
        pytest.param("[[1, [2%s]]]", r"x\[0\]\[1\] is a list among values", id="list among inner values"),
        pytest.param("[[1, 2], []%s]", r"x\[1\] has 0 entries", id="empty row"),
        pytest.param('[[1, 2], [3, "a"%s]]', r'x\[1\]\[1\] is "a"; FP32 takes numbers', id="text"),
        pytest.param("[[1, true%s]]", r"x\[0\]\[1\] is true; FP32", id="boolean"),
        pytest.param("[[1, {}%s]]", r"x\[0\]\[1\] is an object; FP32", id="object"),
        pytest.param("[[1, 1e39%s]]", r"x\[0\]\[1\] is 1e\+39; FP32 takes numbers up to 3.4", id="out of range"),
    ],
)
def test_mistake_is_placed(text: str, message: str, parser: str) -> None:
    """With a NaN at another place the body is read by another parser, to the same end."""
    text = text.replace("%s", "")
    body = text.replace("[1,", "[NaN,", 1) if parser else text
    with pytest.raises(MalformedBody, match=message):
        read(body, "FP32")


def test_rows_that_make_up_for_each_other_are_found_among_many() -> None:
    rows = [[[0] * 3] * 100] * 100
    rows[50] = [*[[0] * 3] * 98, [0] * 2, [0] * 4]

    with pytest.raises(MalformedBody, match=r"x\[50\]\[98\] has 2 entries"):
        read(json.dumps(rows), "FP32")


@pytest.mark.parametrize(
    ("text", "datatype", "message"),
    [
        pytest.param("[1.0]", "INT64", r"x\[0\] is 1.0; INT64 takes integers", id="float for an integer"),
        pytest.param("[128]", "INT8", r"x\[0\] is 128; INT8 takes integers from -128 to 127", id="integer out of range"),
        pytest.param("[1, -1]", "UINT64", r"x\[1\] is -1; UINT64", id="negative for unsigned"),
        pytest.param("[0]", "BOOL", r"x\[0\] is 0; BOOL takes true or false", id="number for a boolean"),
        pytest.param("[1]", "BYTES", r"x\[0\] is 1; BYTES takes strings", id="number for text"),
        pytest.param("[null]", "INT64", r"x\[0\] is null; INT64", id="null for an integer"),
        pytest.param('"a"', "FP32", 'x is "a"; FP32', id="text alone"),
        pytest.param("[" * 40 + "]" * 40, "FP32", "nested more than 32 levels", id="too deep"),
        pytest.param("[" * 900 + "NaN" + "]" * 900, "FP32", "nested more than 32 levels", id="too deep with NaN"),
        pytest.param("[" * 100_000 + "NaN", "FP32", "not valid JSON", id="too deep for any parser"),
        pytest.param('[{"b64": "?"}]', "BYTES", r"x\[0\] is no valid base64", id="broken base64"),
        pytest.param('[{"b64": "/w=="}]', "BYTES", r"x\[0\] holds bytes that are no UTF-8", id="bytes that are no text"),
        pytest.param('["\\ud800", {"b64": ""}]', "BYTES", "not valid JSON", id="half of a surrogate pair"),
        pytest.param("[NaN]", "INT64", r"x\[0\] is nan; INT64", id="NaN for an integer"),
        pytest.param("[12345678901234567890123]", "INT64", r"x\[0\] is 1\.23.*e\+22; INT64", id="integer beyond 64 bits"),
        pytest.param("[%s]" % ("9" * 5000), "FP32", "not valid JSON", id="integer beyond any float"),
        pytest.param("[NaN, %s]" % ("9" * 5000), "FP32", "not valid JSON", id="integer of 5000 digits"),
        pytest.param("[1e999]", "FP64", "not valid JSON", id="float beyond 64 bits"),
    ],
)
def test_mistake_is_named(text: str, datatype: Datatype, message: str) -> None:
    with pytest.raises(MalformedBody, match=message):
        read(text, datatype)


@pytest.mark.parametrize(
    ("text", "datatype", "expected"),
    [
        pytest.param("[]", "FP32", np.zeros(0, np.float32), id="empty"),
        pytest.param("[[], []]", "FP32", np.zeros((2, 0), np.float32), id="rows without values"),
        pytest.param("7", "INT64", np.array(7), id="scalar"),
        pytest.param("[9223372036854775807, -9223372036854775808]", "INT64", np.array([2**63 - 1, -(2**63)]), id="extremes"),
        pytest.param("[18446744073709551615]", "UINT64", np.array([2**64 - 1], np.uint64), id="unsigned extreme"),
        pytest.param("[1, 2.5]", "FP16", np.array([1, 2.5], np.float16), id="half floats"),
        pytest.param("[100000000000000000000]", "FP32", np.array([1e20], np.float32), id="float as JavaScript writes it"),
        pytest.param("[NaN, 100000000000000000000]", "FP64", np.array([np.nan, 1e20]), id="the same beside a token"),
        pytest.param("[NaN, -Infinity, Infinity, 1]", "FP32", np.array([np.nan, -np.inf, np.inf, 1], np.float32), id="tokens"),
        pytest.param('[["a"], [{"b64": "w6Q="}]]', "BYTES", np.array([["a"], ["ä"]], object), id="base64 beside text"),
        pytest.param("[true, false]", "BOOL", np.array([True, False]), id="booleans"),
    ],
)
def test_values_are_read(text: str, datatype: Datatype, expected: np.ndarray[Any, Any]) -> None:
    found, _missing = read(text, datatype)

    np.testing.assert_array_equal(found, expected, strict=True)


def test_null_is_a_missing_value() -> None:
    array, missing = read("[[1, null]]", "FP32")

    np.testing.assert_array_equal(array, np.array([[1, np.nan]], np.float32))
    assert missing


def test_bfloat16_is_read_and_written_as_numbers() -> None:
    array, _missing = read("[1, 2.5, -3]", "BF16")

    np.testing.assert_array_equal(from_bfloat16(array), np.array([1, 2.5, -3], np.float32))
    assert written(array) == b"[1.0,2.5,-3.0]"


@pytest.mark.parametrize(
    ("array", "text"),
    [
        pytest.param(np.array(1.5), b"1.5", id="scalar"),
        pytest.param(np.array(np.nan), b"NaN", id="scalar NaN"),
        pytest.param(np.array("a", object), b'"a"', id="scalar text"),
        pytest.param(np.array([[1, np.nan], [-np.inf, np.inf]], np.float32), b"[[1.0,NaN],[-Infinity,Infinity]]", id="tokens"),
        pytest.param(np.arange(4).reshape(2, 2).T, b"[[0,2],[1,3]]", id="view with strides"),
        pytest.param(np.zeros((2, 0)), b"[[],[]]", id="no values"),
    ],
)
def test_array_is_written(array: np.ndarray[Any, Any], text: bytes) -> None:
    assert written(array) == text


def test_only_an_object_of_b64_alone_is_bytes() -> None:
    assert encoded({"b64": "YQ=="}) == "YQ=="
    assert encoded({"b64": "YQ==", "a": 1}) is None
    assert encoded({"b64": 1}) is None
    assert encoded("YQ==") is None
    assert decoded("YQ==", "x") == b"a"


def test_other_lists_of_the_body_do_not_pass_for_the_tensor() -> None:
    """The lists of the whole body are compared at a glance: a ragged tensor is not hidden by a regular one beside it."""
    document = Document(b'{"a": [[1, 2], [3, 4]], "b": [[1], [2, 3, 4]]}')
    root: Any = document.root

    with pytest.raises(MalformedBody, match=r"b\[1\] has 3 entries"):
        tensor(root["b"], "FP32", "b", is_regular=document.is_regular)
    array, _missing = tensor(root["a"], "FP32", "a", is_regular=document.is_regular)
    assert array.shape == (2, 2)


def test_tokens_are_read_in_bodies_up_to_a_size() -> None:
    """Python's parser stops every thread: 30 MB took three seconds, in which no client had an answer."""
    rows = b"NaN," * 1_100_000

    assert Document(b"[" + rows[:4000] + b"1]").root
    with pytest.raises(MalformedBody, match="up to 4194304"):
        Document(b"[" + rows + b"1]")
