from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from service.inference.batch import chunks, merge, split

Array = np.ndarray[Any, Any]
REST = array_shapes(min_dims=0, max_dims=2, max_side=3).map(tuple)
ROWS = st.lists(st.integers(1, 5), min_size=1, max_size=6)


def filled(rows: int, rest: tuple[int, ...], start: int = 0) -> Array:
    return np.arange(start, start + rows * int(np.prod(rest)), dtype=np.int64).reshape(rows, *rest)


@given(rows=ROWS, rest=st.lists(REST, min_size=1, max_size=3))
def test_split_undoes_merge(rows: list[int], rest: list[tuple[int, ...]]) -> None:
    requests = [[filled(count, shape, 100 * index) for shape in rest] for index, count in enumerate(rows)]

    pieces = split(merge(requests), rows)

    for request, piece in zip(requests, pieces, strict=True):
        for sent, got in zip(request, piece, strict=True):
            np.testing.assert_array_equal(sent, got, strict=True)


@given(rows=st.integers(1, 40), limit=st.integers(1, 12), rest=st.lists(REST, min_size=1, max_size=3))
def test_join_undoes_chunks(rows: int, limit: int, rest: list[tuple[int, ...]]) -> None:
    inputs = [filled(rows, shape) for shape in rest]

    pieces = chunks(inputs, rows, limit)

    assert all(1 <= len(array) <= limit for piece in pieces for array in piece)
    assert len(pieces) == -(-rows // limit)
    for sent, got in zip(inputs, merge(pieces), strict=True):
        np.testing.assert_array_equal(sent, got, strict=True)


def test_single_request_is_not_copied() -> None:
    array = filled(2, (3,))

    merged = merge([[array]])

    assert merged[0] is array


def test_strings_keep_their_datatype() -> None:
    words = [np.array([["a"], ["bc"]], dtype=object), np.array([["d"]], dtype=object)]

    merged = merge([[word] for word in words])

    assert merged[0].dtype == object
    assert merged[0].tolist() == [["a"], ["bc"], ["d"]]


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(np.zeros((2, 1)), id="too few rows"),
        pytest.param(np.zeros((4, 1)), id="too many rows"),
        pytest.param(np.array(1.0), id="scalar"),
    ],
)
def test_output_without_one_row_for_each_input_row_is_refused(output: Array) -> None:
    with pytest.raises(ValueError, match="for 3 input rows"):
        split([output], [1, 2])
