"""`.npy` and `.npz` both ways, and files that lie."""

import zipfile
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.errors import DecodedTooLarge, MalformedBody, NotAcceptable
from service.protocols.budget import Budget
from service.protocols.numpy_files import read_npy, read_npz, write_npy, write_npz

NUMBERS = (
    arrays.boolean_dtypes()
    | arrays.integer_dtypes()
    | arrays.unsigned_integer_dtypes()
    | arrays.floating_dtypes(sizes=(16, 32, 64))
)


def saved(array: Any, **options: Any) -> bytes:
    stream = BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def archive(kind: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@given(NUMBERS.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))))
def test_array_survives_the_way_there_and_back(array: np.ndarray[Any, Any]) -> None:
    np.testing.assert_array_equal(read_npy(saved(array)), array, strict=True)
    np.testing.assert_array_equal(read_npy(saved(array.copy(order="F"))), array, strict=True)
    np.testing.assert_array_equal(np.load(BytesIO(write_npy(array)), allow_pickle=False), array, strict=True)


@given(st.dictionaries(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), st.integers(0, 9), max_size=4))
def test_archive_survives_the_way_there_and_back(values: dict[str, int]) -> None:
    tensors = {name: np.full((2, value), value) for name, value in values.items()}

    found = read_npz(write_npz(tensors), Budget(1 << 20))

    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_what_numpy_writes_is_read_and_the_other_way_round() -> None:
    stream = BytesIO()
    np.savez_compressed(stream, a=np.arange(3), b=np.array(["x", "ää"]))

    found = read_npz(stream.getvalue(), Budget(1 << 20))

    assert (found["a"].tolist(), found["b"].tolist()) == ([0, 1, 2], ["x", "ää"])
    with np.load(BytesIO(write_npz({"t": np.array(["a", "bc"], object)})), allow_pickle=False) as loaded:
        assert loaded["t"].tolist() == ["a", "bc"]


def test_any_byte_but_0_is_true() -> None:
    assert read_npy(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }", b"\x00\x01\x07")).tolist() == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"rubbish", id="rubbish"),
        pytest.param(saved(np.array([{}], object), allow_pickle=True), id="pickle"),
        pytest.param(saved(np.zeros(2, [("a", int)])), id="records"),
        pytest.param(saved(np.zeros(2, complex)), id="complex numbers"),
        pytest.param(saved(np.zeros(2, "M8[s]")), id="dates"),
        pytest.param(saved(np.zeros(9))[:-1], id="cut off"),
        pytest.param(saved(np.zeros(9)) + b"1", id="bytes after the end"),
        pytest.param(saved(np.zeros(9))[:40], id="cut off in the header"),
        pytest.param(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"), id="huge shape"),
        pytest.param(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 8), }", bytes(64)), id="negative size"),
        pytest.param(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9), }"), id="impossible"),
        pytest.param(npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }"), id="strings of no size"),
        pytest.param(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1.5,), }", bytes(8)), id="size a float"),
        pytest.param(npy("{'descr': '<f8', 'fortran_order': False, }"), id="no shape"),
        pytest.param(npy("[" * 110), id="brackets"),
        pytest.param(npy("__import__('os').abort()"), id="code"),
        pytest.param(b"\x93NUMPY\x03\x00" + saved(np.zeros(2))[8:], id="version of records"),
        pytest.param(npy("{'descr': '|u9', 'fortran_order': False, 'shape': (1,), }", bytes(9)), id="datatype that is not"),
    ],
)
def test_file_that_is_no_tensor_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedBody, match="The body"):
        read_npy(content)


def test_zip_bomb_is_refused_before_it_is_inflated() -> None:
    bomb = archive(zipfile.ZIP_DEFLATED, a=saved(np.zeros(10_000_000, np.uint8)))

    assert len(bomb) < 20_000
    with pytest.raises(DecodedTooLarge, match="more than 1000000 bytes"):
        read_npz(bomb, Budget(1_000_000))


def test_member_that_inflates_to_more_than_it_says_is_refused() -> None:
    content = saved(np.zeros(100_000, np.uint8))
    bomb = bytearray(archive(zipfile.ZIP_DEFLATED, a=content))
    for place in (bomb.index(b"PK\x03\x04") + 22, bomb.index(b"PK\x01\x02") + 24):
        bomb[place : place + 4] = (200).to_bytes(4, "little")

    with pytest.raises(MalformedBody, match=r"no readable \.npz archive"):
        read_npz(bytes(bomb), Budget(1_000_000))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"rubbish", id="rubbish"),
        pytest.param(archive(a=b"rubbish"), id="member that is rubbish"),
        pytest.param(archive(a=saved(np.array([{}], object), allow_pickle=True)), id="member that is a pickle"),
        pytest.param(archive(a=saved(np.zeros(9)))[:-10], id="cut off"),
    ],
)
def test_archive_that_holds_no_tensors_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedBody):
        read_npz(content, Budget(1 << 20))


@given(st.data())
def test_damaged_archive_is_read_or_a_mistake(data: st.DataObject) -> None:
    content = bytearray(archive(zipfile.ZIP_DEFLATED, a=saved(np.arange(5)), b=saved(np.array(["x"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    try:
        found = read_npz(bytes(content), Budget(1 << 20))
    except (MalformedBody, DecodedTooLarge) as error:
        assert str(error)  # noqa: PT017 -- either outcome is fine, any other exception is not
    else:
        assert sum(array.nbytes for array in found.values()) <= 1 << 20


def test_long_text_does_not_make_the_answer_explode() -> None:
    """Each string takes the room of the longest in the file."""
    texts = np.array(["x" * 1_000_000, *[""] * 999], object)

    with pytest.raises(NotAcceptable, match="Accept JSON"):
        write_npy(texts)
