"""Tensors as raw bytes."""

import re
import struct
from typing import Any

import numpy as np
import pytest
import tritonclient.utils as triton
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from service.errors import MalformedBody
from service.protocols.binary_tensors import to_array, to_bytes
from service.repository.datatypes import DATATYPES, Datatype, to_numpy

Array = np.ndarray[Any, Any]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Datatype, Array]:
    """Draw a tensor of any datatype and shape: any bits, NaN and infinities among them."""
    datatype = draw(st.sampled_from(DATATYPES))
    shape = draw(array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    if datatype == "BF16":
        return datatype, draw(arrays(np.uint16, shape)).view(to_numpy("BF16"))
    return datatype, draw(arrays(to_numpy(datatype), shape, elements=TEXT if datatype == "BYTES" else None))


def read(data: bytes, datatype: Datatype, *shape: int) -> Array:
    return to_array(memoryview(data), datatype=datatype, shape=shape, where="Input 'x'")


@given(tensors())
def test_arrays_survive_their_bytes(tensor: tuple[Datatype, Array]) -> None:
    datatype, array = tensor

    again = read(bytes(to_bytes(array)), datatype, *array.shape)

    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes() if datatype != "BYTES" else again.tolist() == array.tolist()


@given(arrays(object, array_shapes(max_dims=2, max_side=4), elements=TEXT))
def test_strings_are_written_as_triton_writes_them(array: Array) -> None:
    theirs = triton.serialize_byte_tensor(np.char.encode(array.astype(np.str_), "utf-8").astype(object))

    assert to_bytes(np.char.decode(np.char.encode(array.astype(np.str_), "utf-8"), "utf-8").astype(object)) == theirs.item()


def test_numbers_are_little_endian_row_by_row() -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3)

    assert bytes(to_bytes(array)) == struct.pack("<6h", *range(6))
    assert bytes(to_bytes(array.T)) == struct.pack("<6h", 0, 3, 1, 4, 2, 5)
    assert bytes(to_bytes(array.astype(">i2"))) == struct.pack("<6h", *range(6))
    assert (
        bytes(to_bytes(np.arange(6000, dtype=">i2").reshape(2, 3000).T))
        == np.arange(6000, dtype="<i2").reshape(2, 3000).T.tobytes()
    )
    assert bytes(to_bytes(np.array(2.5, np.float32))) == struct.pack("<f", 2.5)


def test_nothing_is_copied_where_it_need_not_be() -> None:
    body = np.arange(8, dtype=np.float32).tobytes()
    view = np.frombuffer(body, np.uint8)
    array = np.arange(2048, dtype=np.float32)

    assert np.shares_memory(read(body, "FP32", 2, 4), view)
    assert np.shares_memory(np.frombuffer(to_bytes(array[8:]), np.uint8), array)


def test_numbers_that_lie_askew_are_moved() -> None:
    """A model's kernels may take a number only at an address that is a multiple of its size."""
    body = b"\0" + np.arange(4, dtype=np.float64).tobytes()

    array = to_array(memoryview(body)[1:], datatype="FP64", shape=(4,), where="x")

    assert array.flags.aligned
    assert array.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "message"),
    [
        pytest.param(b"\0" * 7, "FP32", (2,), "has 7 bytes of data, but FP32 of shape [2] needs 8", id="too few"),
        pytest.param(b"\0" * 9, "FP32", (2,), "has 9 bytes of data, but FP32 of shape [2] needs 8", id="too many"),
        pytest.param(b"", "FP32", (2**62, 4), "has 0 bytes of data", id="shape beyond any memory"),
        pytest.param(b"", "INT8", (0, 2**63 - 1, 2**63 - 1), "which no tensor can have", id="shape beyond any array"),
        pytest.param(b"\0\1\2", "BOOL", (3,), "not of datatype BOOL: expected 0 or 1", id="boolean of 2"),
        pytest.param(b"\1\0\0\0\xff", "BYTES", (1,), "in string 0 bytes that are no UTF-8", id="no UTF-8"),
        pytest.param(b"\0\0\0\0\2\0\0\0a", "BYTES", (2,), "is cut off in string 1", id="string cut off"),
        pytest.param(b"\0\0\0", "BYTES", (1,), "is cut off in string 0", id="length cut off"),
        pytest.param(b"\xff\xff\xff\xff", "BYTES", (1,), "is cut off in string 0", id="length beyond the data"),
        pytest.param(b"\0\0\0\0", "BYTES", (2,), "has 1 strings, but its shape needs 2", id="strings too few"),
        pytest.param(b"\0\0\0\0" * 3, "BYTES", (2,), "has 3 strings, but its shape needs 2", id="strings too many"),
        pytest.param(b"", "BYTES", (2**62, 4), "has 0 strings", id="strings beyond any memory"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(data: bytes, datatype: Datatype, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(MalformedBody, match=re.escape(message)):
        read(data, datatype, *shape)


@given(st.binary(max_size=40), st.sampled_from(DATATYPES), st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 4), max_size=4))
def test_any_bytes_are_a_tensor_or_malformed(data: bytes, datatype: Datatype, shape: list[int]) -> None:
    try:
        array = read(data, datatype, *shape)
    except MalformedBody as error:
        assert "Input 'x'" in str(error)  # noqa: PT017 -- either outcome is fine, any other exception is not
    else:
        assert array.shape == tuple(shape)
