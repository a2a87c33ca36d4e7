from typing import Any

import numpy as np
import pytest

from service.errors import SignatureMismatch
from service.protocols.casting import cast, with_batch_axis
from service.repository.datatypes import Datatype, to_numpy
from service.repository.signature import TensorSpec


@pytest.mark.parametrize(
    ("array", "datatype", "expected"),
    [
        pytest.param(np.array([1.5, np.nan, np.inf]), "FP32", [1.5, np.nan, np.inf], id="floats narrowed"),
        pytest.param(np.array([1, 2], ">i4"), "INT64", [1, 2], id="other byte order"),
        pytest.param(np.array([3.0, -4.0]), "INT8", [3, -4], id="whole floats"),
        pytest.param(np.array([255]), "UINT8", [255], id="largest"),
        pytest.param(np.array([2**64 - 1], np.uint64), "UINT64", [2**64 - 1], id="largest of 64 bits"),
        pytest.param(np.array([-(2.0**63)]), "INT64", [-(2**63)], id="smallest of 64 bits"),
        pytest.param(np.array([True]), "BOOL", [True], id="booleans"),
        pytest.param(np.array(["a", "ä"]), "BYTES", ["a", "ä"], id="text"),
        pytest.param(np.array([b"a", "ä".encode()]), "BYTES", ["a", "ä"], id="bytes"),
        pytest.param(np.array([7, 8], np.uint8), "FP16", [7, 8], id="integers to floats"),
    ],
)
def test_values_that_fit_are_cast(array: Any, datatype: Datatype, expected: list[Any]) -> None:
    np.testing.assert_array_equal(cast(array, datatype, "x"), np.array(expected, to_numpy(datatype)), strict=True)


@pytest.mark.parametrize(
    ("array", "datatype", "message"),
    [
        pytest.param(np.array([[1, 2.5]]), "INT64", r"x holds 2.5 at \[0, 1\], which INT64 cannot hold", id="fraction"),
        pytest.param(np.array([np.nan]), "INT64", "x holds nan", id="NaN"),
        pytest.param(np.array([256]), "UINT8", "x holds 256", id="too large"),
        pytest.param(np.array([-1]), "UINT64", "x holds -1", id="negative"),
        pytest.param(np.array([2.0**63]), "INT64", "x holds 9.2", id="the first float beyond 64 bits"),
        pytest.param(np.array([2.0**64]), "UINT64", "x holds 1.8", id="the first float beyond 64 unsigned bits"),
        pytest.param(np.array([1e39]), "FP32", r"x holds 1e\+39", id="float too large"),
        pytest.param(np.array([70000], np.int32), "FP16", "x holds 70000", id="integer beyond half floats"),
        pytest.param(np.array([65504], np.float16), "INT8", "x holds 65", id="half float beyond bytes"),
        pytest.param(np.array([True]), "FP32", "x holds booleans; the model takes FP32", id="booleans"),
        pytest.param(np.array(["a"]), "FP32", "x holds strings", id="text for numbers"),
        pytest.param(np.array([1]), "BYTES", "x holds integers", id="numbers for text"),
        pytest.param(np.array([1]), "BOOL", "x holds integers", id="numbers for booleans"),
        pytest.param(np.array([b"\xff"]), "BYTES", "no UTF-8", id="bytes that are no text"),
        pytest.param(np.array(["\ud800"]), "BYTES", "no UTF-8", id="half of a surrogate pair"),
        pytest.param(np.array([None], object), "BYTES", "no UTF-8", id="None"),
    ],
)
def test_values_that_do_not_fit_are_placed(array: Any, datatype: Datatype, message: str) -> None:
    with pytest.raises(SignatureMismatch, match=message):
        cast(array, datatype, "x")


def test_batch_axis_is_added_only_where_it_lacks() -> None:
    spec = TensorSpec("x", "FP32", (-1, 4))

    assert with_batch_axis(np.zeros(4), spec).shape == (1, 4)
    assert with_batch_axis(np.zeros((2, 4)), spec).shape == (2, 4)
    assert with_batch_axis(np.zeros(4), TensorSpec("x", "FP32", (3, 4))).shape == (4,)
