import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from service.errors import MalformedBody
from service.protocols.json_tensors import from_bfloat16, parse, to_array
from service.repository.datatypes import DATATYPES, Datatype, to_numpy

Array = np.ndarray[Any, Any]
ArrayOf = Callable[..., Array]

INTEGERS: tuple[Datatype, ...] = ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
FLOATS: tuple[Datatype, ...] = ("FP16", "FP32", "FP64")
BF16_EXPONENT = 0x7F80  # all ones: infinity or NaN
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def is_finite(bits: int) -> bool:
    return bits & BF16_EXPONENT != BF16_EXPONENT


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Datatype, Array]:
    """Draw a tensor of any datatype and shape, as a numpy array."""
    datatype = draw(st.sampled_from([datatype for datatype in DATATYPES if datatype != "BF16"]))
    shape = draw(array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    dtype = to_numpy(datatype)
    elements: Any = TEXT if datatype == "BYTES" else None
    if datatype in FLOATS:
        elements = st.floats(allow_nan=False, allow_infinity=False, width=8 * dtype.itemsize)
    return datatype, draw(arrays(dtype, shape, elements=elements))


@given(arrays(np.uint16, array_shapes(min_dims=1, max_dims=3, max_side=4), elements=st.integers(0, 0xFFFF).filter(is_finite)))
def test_bfloat16_survives_json(array_of: ArrayOf, bits: Array) -> None:
    array = bits.view(to_numpy("BF16"))

    read = array_of(json.dumps(from_bfloat16(array).tolist()), "BF16", *array.shape)

    np.testing.assert_array_equal(read.view(np.uint16), bits, strict=True)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        pytest.param("1", 0x3F80, id="exact"),
        pytest.param("1.00390625", 0x3F80, id="tie to even below"),
        pytest.param("1.01171875", 0x3F82, id="tie to even above"),
        pytest.param("1.005", 0x3F81, id="nearest"),
        pytest.param("3.3895313892515355e38", 0x7F7F, id="largest"),
    ],
)
def test_number_becomes_the_nearest_bfloat16(text: str, bits: int, array_of: ArrayOf) -> None:
    assert array_of(f"[{text}]", "BF16", 1).view(np.uint16).tolist() == [bits]


@given(tensor=tensors(), flat=st.booleans())
def test_numpy_arrays_survive_json(array_of: ArrayOf, tensor: tuple[Datatype, Array], *, flat: bool) -> None:
    datatype, array = tensor
    text = json.dumps(array.reshape(-1).tolist() if flat else array.tolist())

    read = array_of(text, datatype, *array.shape)

    np.testing.assert_array_equal(read, array, strict=True)


@pytest.mark.parametrize("datatype", INTEGERS)
def test_extremes_of_integers_are_exact(datatype: Datatype, array_of: ArrayOf) -> None:
    limits = np.iinfo(to_numpy(datatype))

    assert array_of(f"[{limits.min}, {limits.max}]", datatype, 2).tolist() == [limits.min, limits.max]


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_outside_their_range_are_refused(datatype: Datatype, array_of: ArrayOf) -> None:
    limits = np.iinfo(to_numpy(datatype))

    for value in (limits.min - 1, limits.max + 1):
        with pytest.raises(MalformedBody):
            array_of(f"[{value}]", datatype, 1)


@pytest.mark.parametrize("datatype", FLOATS)
def test_integers_are_numbers(datatype: Datatype, array_of: ArrayOf) -> None:
    assert array_of("[1, -2, 3.5]", datatype, 3).tolist() == [1, -2, 3.5]


@pytest.mark.parametrize(
    ("datatype", "text", "expected"),
    [
        pytest.param("FP32", "18446744073709551615", 2.0**64, id="integer beyond int64 as a float"),
        pytest.param("FP32", "18446744073709551616", 2.0**64, id="integer beyond uint64 as a float"),
        pytest.param("FP64", "-9223372036854775809", -(2.0**63), id="negative integer beyond int64 as a float"),
        pytest.param("FP64", "100000000000000000000", 1e20, id="float as JavaScript writes it"),
        pytest.param("FP64", "1e308", 1e308, id="large double"),
        pytest.param("FP32", "1e-50", 0.0, id="too small for FP32"),
        pytest.param("FP16", "65504", 65504.0, id="largest FP16"),
        pytest.param("FP32", "0.1", float(np.float32(0.1)), id="nearest FP32"),
    ],
)
def test_number_becomes_the_nearest_float(datatype: Datatype, text: str, expected: float, array_of: ArrayOf) -> None:
    assert array_of(f"[{text}]", datatype, 1).tolist() == [expected]


@pytest.mark.parametrize(
    ("datatype", "text"),
    [
        pytest.param("FP32", '["1"]', id="string in FP32"),
        pytest.param("FP32", "[true]", id="boolean in FP32"),
        pytest.param("FP32", "[{}]", id="object in FP32"),
        pytest.param("FP32", "[1e39]", id="too large for FP32"),
        pytest.param("FP32", "[-1e39]", id="too small for FP32"),
        pytest.param("FP16", "[65520]", id="too large for FP16"),
        pytest.param("BF16", "[3.4e38]", id="too large for BF16"),
        pytest.param("INT64", "[1.5]", id="fraction in INT64"),
        pytest.param("INT64", "[1.0]", id="float in INT64"),
        pytest.param("INT64", "[true]", id="boolean in INT64"),
        pytest.param("INT64", '["1"]', id="string in INT64"),
        pytest.param("INT32", "[null]", id="null in INT32"),
        pytest.param("UINT64", "[-1]", id="negative in UINT64"),
        pytest.param("BOOL", "[1]", id="number in BOOL"),
        pytest.param("BOOL", "[null]", id="null in BOOL"),
        pytest.param("BOOL", '["true"]', id="string in BOOL"),
        pytest.param("BYTES", "[1]", id="number in BYTES"),
        pytest.param("BYTES", "[true]", id="boolean in BYTES"),
    ],
)
def test_value_of_another_kind_is_refused(datatype: Datatype, text: str, array_of: ArrayOf) -> None:
    with pytest.raises(MalformedBody, match=f"Input 'x' holds a value that is not of datatype {datatype}: expected "):
        array_of(text, datatype, 1)


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize(
    ("text", "shape"),
    [
        pytest.param("[[1, 2], [3]]", (2, 2), id="ragged"),
        pytest.param("[[1, 2], 3]", (2, 2), id="number beside a list"),
        pytest.param("[[1, 2, 3], [4, 5, 6]]", (3, 2), id="transposed"),
        pytest.param("[[[1], [2]]]", (1, 2), id="nested deeper"),
        pytest.param("[[1], [2]]", (2, 1, 1), id="nested less deep"),
        pytest.param("[[1, 2, 3, 4]]", (4,), id="batch axis not in the shape"),
        pytest.param("[[]]", (1, 1), id="empty row"),
        pytest.param("[[1, 2], [3, 4]]", (2, 1), id="rows too long"),
    ],
)
def test_nesting_that_differs_from_the_shape_is_refused(
    datatype: Datatype, text: str, shape: tuple[int, ...], array_of: ArrayOf
) -> None:
    for value in ("1", "2", "3", "4", "5", "6"):
        text = text.replace(value, {"BOOL": "true", "BYTES": '"a"'}.get(datatype, "0"))

    with pytest.raises(MalformedBody, match="Input 'x'"):
        array_of(text, datatype, *shape)


@pytest.mark.parametrize("text", ["[1, 2, 3]", "[1, 2, 3, 4, 5]", "[]"])
def test_number_of_values_must_be_that_of_the_shape(text: str, array_of: ArrayOf) -> None:
    with pytest.raises(MalformedBody, match=r"has \d values, but its shape \[2, 2\] needs 4"):
        array_of(text, "FP32", 2, 2)


def test_count_of_deeply_nested_rows_is_checked(array_of: ArrayOf) -> None:
    """Lists are compared level by level only up to some thousands; the count decides from there on."""
    rows = [[[0.0]]] * 5000

    assert array_of(json.dumps(rows), "FP32", 5000, 1, 1).shape == (5000, 1, 1)
    with pytest.raises(MalformedBody):
        array_of(json.dumps([*rows[1:], [[0.0, 0.0]]]), "FP32", 5000, 1, 1)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_empty_tensor_has_its_datatype_and_shape(datatype: Datatype, array_of: ArrayOf) -> None:
    array = array_of("[]", datatype, 0, 4)

    assert array.shape == (0, 4)
    assert array.dtype == to_numpy(datatype)


def test_scalar_is_a_list_of_one(array_of: ArrayOf) -> None:
    assert array_of("[2.5]", "FP32").shape == ()


@pytest.mark.parametrize("text", ["1", '"a"', "null", "{}", "true"])
def test_data_that_is_no_list_is_refused(text: str, array_of: ArrayOf) -> None:
    with pytest.raises(MalformedBody, match="has no 'data' list"):
        array_of(text, "FP32", 1)


def test_array_can_be_written_to(array_of: ArrayOf) -> None:
    """It is no view into a buffer that the parser reuses."""
    array = array_of("[1, 2]", "INT64", 2)

    array[0] = 5

    assert array.tolist() == [5, 2]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" ", id="blank"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b'{"a": Infinity}', id="Infinity"),
        pytest.param(b'{"a": 1e400}', id="number beyond double"),
        pytest.param(b'{"a": 01}', id="leading zero"),
        pytest.param(b'{"a": "\xff"}', id="no UTF-8"),
        pytest.param(b'{"a": 1} {}', id="two documents"),
        pytest.param(b"\x00" * 100, id="zero bytes"),
        pytest.param(b"[" * 100_000, id="a hundred thousand brackets"),
        pytest.param(b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", id="nested five thousand deep"),
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody, match=r"The body is not valid JSON: .+"):
        parse(body)


@pytest.mark.parametrize("body", [b"[]", b"1", b'"a"', b"null", b"true"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody, match="The body must be a JSON object"):
        parse(body)


def test_null_is_a_missing_value() -> None:
    """NaN among floats, the empty string among strings; whether the model takes it is for the validation to say."""
    data = parse(b'{"numbers": [1, null, 2.5], "words": ["a", null], "whole": [1, 2]}')

    numbers, numbers_missing = to_array(data["numbers"], datatype="FP32", shape=(3,), where="x")
    words, words_missing = to_array(data["words"], datatype="BYTES", shape=(2,), where="x")
    whole, whole_missing = to_array(data["whole"], datatype="FP32", shape=(2,), where="x")

    np.testing.assert_array_equal(numbers, np.array([1, np.nan, 2.5], np.float32))
    assert words.tolist() == ["a", ""]
    assert (numbers_missing, words_missing, whole_missing) == (True, True, False)
    assert whole.tolist() == [1, 2]
