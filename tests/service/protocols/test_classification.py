from typing import Any

import numpy as np
import pytest

from service.errors import InvalidRequest
from service.protocols.classification import classes
from service.repository.datatypes import Datatype
from service.repository.signature import TensorSpec


def best(values: Any, dtype: Any = np.float32, *, count: int = 2, shape: tuple[int, ...] = (-1, 3), **facts: Any) -> Any:
    spec = TensorSpec("y", "FP32", shape, **facts)
    return classes(np.array(values, dtype=dtype), spec, count).tolist()


def test_each_row_gives_its_best_classes_with_their_labels() -> None:
    assert best([[0.25, 2, -1], [3, 1, 2]], labels=("red", "green", "blue")) == [
        ["2.000000:1:green", "0.250000:0:red"],
        ["3.000000:0:red", "2.000000:2:blue"],
    ]


def test_without_labels_there_are_only_positions() -> None:
    assert best([[0.25, 2, -1]]) == [["2.000000:1", "0.250000:0"]]


def test_labels_of_another_number_are_left_out() -> None:
    assert best([[0.25, 2, -1]], labels=("no", "yes")) == [["2.000000:1", "0.250000:0"]]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_integers_stay_integers(dtype: Any) -> None:
    assert best([[1, 7, 7]], dtype, count=3) == [["7:1", "7:2", "1:0"]]


def test_large_integers_are_compared_exactly() -> None:
    assert best([[2**63, 2**63 + 1, 0]], np.uint64) == [[f"{2**63 + 1}:1", f"{2**63}:0"]]


def test_of_equal_values_the_first_comes_first() -> None:
    assert best([[1.0, 1.0, 0.0]]) == [["1.000000:0", "1.000000:1"]]


def test_nan_comes_last() -> None:
    assert best([[np.nan, 1.0, -np.inf]], count=3) == [["1.000000:1", "-inf:2", "nan:0"]]


def test_no_more_classes_than_there_are() -> None:
    assert len(best([[1.0, 2.0, 3.0]], count=1000)[0]) == 3


def test_output_without_batch_axis_is_one_row() -> None:
    assert best([1.0, 2.0, 3.0], shape=(3,)) == ["3.000000:2", "2.000000:1"]
    assert best(1.5, shape=()) == ["1.500000:0"]


def test_further_axes_are_one_row() -> None:
    assert best([[[1.0, 2.0], [3.0, 4.0]]], shape=(-1, 2, 2)) == [["4.000000:3", "3.000000:2"]]


@pytest.mark.parametrize(("datatype", "value"), [("BYTES", "a"), ("BOOL", True)])
def test_output_without_numbers_is_refused(datatype: Datatype, value: Any) -> None:
    array = np.array([[value]], dtype=object if datatype == "BYTES" else bool)

    with pytest.raises(InvalidRequest, match=f"'y' is of datatype {datatype}; only numbers can be classified"):
        classes(array, TensorSpec("y", datatype, (-1, 1)), 1)
