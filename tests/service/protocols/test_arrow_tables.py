"""Arrow streams and Parquet files into inputs, outputs into streams, and tables that do not fit or are not what they say."""

import struct
import sys
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from service.errors import AxonError, DecodedTooLarge, InvalidRequest, MalformedBody, NotAcceptable, UnsupportedMediaType
from service.protocols.arrow_tables import read_parquet, read_stream, write_stream
from service.protocols.budget import Budget
from service.protocols.features import Columns, ModelInputs
from service.repository.datatypes import DATATYPES, Datatype, to_numpy
from service.repository.signature import Signature, TensorSpec

PEOPLE = Signature(
    (
        TensorSpec("sex", "BYTES", (-1,), missing=True),
        TensorSpec("age", "FP32", (-1, 1), missing=True),
        TensorSpec("children", "INT64", (-1,)),
    ),
    (),
)
FLOWERS = Signature((TensorSpec("x", "FP32", (-1, 2), features=("length", "width")),), ())
LIMIT = 1 << 22
FORMS = [pytest.param("stream", id="Arrow stream"), pytest.param("parquet", id="Parquet")]


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet_file(table: pa.Table, **options: Any) -> bytes:
    sink = BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


def read(table: pa.Table, form: str, signature: Signature = PEOPLE, *, limit: int = LIMIT) -> ModelInputs:
    columns = Columns("m", signature)
    if form == "stream":
        return read_stream(stream(table), columns, Budget(limit))
    return read_parquet(parquet_file(table), columns, Budget(limit))


def only(datatype: Datatype, *shape: int, missing: bool = False) -> Signature:
    return Signature((TensorSpec("x", datatype, (-1, *shape), missing=missing),), ())


@pytest.mark.parametrize("form", FORMS)
def test_columns_become_inputs(form: str) -> None:
    table = pa.table({"children": pa.array([0, 2], pa.int8()), "age": [29.5, None], "sex": ["ä", None]})

    found = read(table, form)

    np.testing.assert_array_equal(found.arrays["sex"], np.array(["ä", ""], object), strict=True)
    np.testing.assert_array_equal(found.arrays["age"], np.array([[29.5], [np.nan]], np.float32), strict=True)
    np.testing.assert_array_equal(found.arrays["children"], np.array([0, 2]), strict=True)
    assert found.missing == {"sex", "age"}


@pytest.mark.parametrize("form", FORMS)
def test_features_and_batches_are_put_together(form: str) -> None:
    table = pa.concat_tables([pa.table({"width": [2.0], "length": [1.0]}), pa.table({"width": [4.0, 6.0], "length": [3.0, 5.0]})])

    assert read(table, form, FLOWERS).arrays["x"].tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array([[1, 2], [3, 4]], pa.list_(pa.float64(), 2)), id="lists of fixed size"),
        pytest.param(pa.array([[1, 2], [3, 4]], pa.list_(pa.int32())), id="lists"),
        pytest.param(pa.array([[1, 2], [3, 4]], pa.large_list(pa.float32())), id="large lists"),
        pytest.param(pa.array([[0, 0], [1, 2], [3, 4]], pa.list_(pa.int32())).slice(1), id="slice"),
    ],
)
def test_lists_are_tensors(column: Any, form: str) -> None:
    assert read(pa.table({"x": column}), form, only("FP32", 2)).arrays["x"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("form", FORMS)
def test_nested_lists_are_tensors_of_more_axes(form: str) -> None:
    values = np.arange(12.0).reshape(2, 2, 3).tolist()

    assert read(pa.table({"x": values}), form, only("FP32", 2, 3)).arrays["x"].tolist() == values


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array(["a", None, "a"]).dictionary_encode(), id="dictionary"),
        pytest.param(pa.array(["a", None, "a"], pa.large_string()), id="large strings"),
    ],
)
def test_text_of_any_form_is_read(column: Any, form: str) -> None:
    assert read(pa.table({"x": column}), form, only("BYTES", missing=True)).arrays["x"].tolist() == ["a", "", "a"]


def test_column_of_nothing_but_nulls_is_missing() -> None:
    found = read(pa.table({"children": [1, 2], "age": pa.nulls(2), "sex": pa.nulls(2)}), "stream")

    assert np.isnan(found.arrays["age"]).all()
    assert found.arrays["sex"].tolist() == ["", ""]


def test_integers_with_nulls_become_floats_where_these_are_due() -> None:
    found = read(pa.table({"children": [1, 2], "age": pa.array([30, None], pa.int64())}), "stream")

    np.testing.assert_array_equal(found.arrays["age"], np.array([[30], [np.nan]], np.float32))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_stream_is_read(compression: str) -> None:
    body = stream(pa.table({"x": [1.0] * 1000}), compression=compression)

    assert read_stream(body, Columns("m", only("FP32")), Budget(LIMIT)).arrays["x"].sum() == 1000


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param({"children": [1], "aeg": [2]}, "has 'aeg'.* Did you mean 'age'", id="misspelt"),
        pytest.param({"age": [2.0]}, "'children' is missing", id="column missing"),
        pytest.param({"children": [1, None]}, "Column 'children' is null in row 1", id="null where none may be"),
        pytest.param({"children": ["a"]}, "Column 'children' holds strings; the model takes INT64", id="text for integers"),
        pytest.param({"children": [1.5]}, r"Column 'children' holds 1.5 at \[0\]", id="fraction"),
        pytest.param({"children": [1], "sex": [1]}, "Column 'sex' holds integers; the model takes BYTES", id="integers for text"),
        pytest.param({"children": [True]}, "Column 'children' holds booleans", id="booleans"),
        pytest.param({"children": [{"a": 1}]}, "Column 'children' is of type struct", id="records"),
        pytest.param({"children": [b"a"]}, "Column 'children' is of type binary", id="bytes"),
        pytest.param({"children": pa.array([1], pa.timestamp("s"))}, "is of type timestamp", id="dates"),
        pytest.param({"children": pa.array([], pa.int64())}, "has no rows", id="no rows"),
        pytest.param({"children": [1, 2], "age": [[1.0], [2.0, 3.0]]}, "lists of different lengths", id="ragged"),
        pytest.param({"children": [1], "age": [[None]]}, "null in a list|is of type", id="null in a list"),
    ],
)
def test_table_that_does_not_fit_is_refused(table: dict[str, Any], message: str, form: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read(pa.table(table), form)


def test_column_that_is_there_twice_is_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["children", "children"])

    with pytest.raises(MalformedBody, match="has the column 'children' twice"):
        read(table, "stream")


@pytest.mark.parametrize("reader", [pytest.param(read_stream, id="Arrow stream"), pytest.param(read_parquet, id="Parquet")])
@pytest.mark.parametrize("content", [b"", b"rubbish", b"PAR1rubbishPAR1", b"\xff\xff\xff\xff\x00\x00\x00\x00", b"ARROW1" * 9])
def test_what_is_no_table_is_refused(content: bytes, reader: Any) -> None:
    with pytest.raises(MalformedBody, match=r"The body is no readable|has no rows"):
        reader(content, Columns("m", PEOPLE), Budget(LIMIT))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_bomb_is_refused_before_it_is_decompressed(compression: str) -> None:
    bomb = stream(pa.table({"x": np.zeros(5_000_000)}), compression=compression)

    assert len(bomb) < LIMIT / 10
    with pytest.raises(DecodedTooLarge):
        read_stream(bomb, Columns("m", only("FP64")), Budget(LIMIT))


def test_rows_that_take_no_bytes_are_counted() -> None:
    with pytest.raises(DecodedTooLarge):
        read_stream(stream(pa.table({"x": pa.nulls(1 << 24)})), Columns("m", only("FP32", missing=True)), Budget(LIMIT))


@pytest.mark.parametrize("form", FORMS)
def test_long_text_that_many_rows_share_is_counted_in_each(form: str) -> None:
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), pa.array(["x" * 10_000]))

    with pytest.raises(DecodedTooLarge):
        read(pa.table({"x": shared}), form, only("BYTES"))


def test_parquet_bomb_is_refused() -> None:
    bomb = parquet_file(pa.table({"x": np.zeros(5_000_000)}))

    assert len(bomb) < LIMIT / 10
    with pytest.raises(DecodedTooLarge):
        read_parquet(bomb, Columns("m", only("FP64")), Budget(LIMIT))


def test_offsets_that_lead_out_of_the_buffer_are_refused() -> None:
    body = stream(pa.table({"x": ["aaaa", "bbbb"]}))
    offsets = struct.pack("<iii", 0, 4, 8)
    assert body.count(offsets) == 1

    with pytest.raises(MalformedBody, match="no readable Arrow stream"):
        read_stream(body.replace(offsets, struct.pack("<iii", 0, 4, 1 << 30)), Columns("m", only("BYTES")), Budget(LIMIT))


@pytest.mark.parametrize("form", FORMS)
def test_text_that_is_no_text_is_refused(form: str) -> None:
    body = stream(pa.table({"x": ["aaaa"]})) if form == "stream" else parquet_file(pa.table({"x": ["aaaa"]}), compression="none")
    reader = read_stream if form == "stream" else read_parquet

    with pytest.raises(MalformedBody, match="The body is no readable"):
        reader(body.replace(b"aaaa", b"\xff\xff\xff\xff"), Columns("m", only("BYTES")), Budget(LIMIT))


@given(st.data())
def test_damaged_stream_is_read_or_a_mistake(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(WHOLE))
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    try:
        found = read_stream(bytes(content), Columns("m", PEOPLE), Budget(LIMIT))
    except AxonError as error:
        assert str(error)  # noqa: PT017 -- either outcome is fine, any other exception is not
    else:
        assert found.arrays.keys() == {"sex", "age", "children"}


PEOPLE_TABLE = pa.table({"children": [0, 2], "age": [29.5, None], "sex": ["a", "b"]})
WHOLE = [
    stream(PEOPLE_TABLE),
    stream(PEOPLE_TABLE, compression="zstd"),
    stream(PEOPLE_TABLE.set_column(2, "sex", pa.array(["a", "b"]).dictionary_encode())),
]


@pytest.mark.parametrize("datatype", [datatype for datatype in DATATYPES if datatype != "BF16"])
def test_outputs_are_columns(datatype: Datatype) -> None:
    values: Any = [["a", "b"], ["", "ä"]] if datatype == "BYTES" else [[0, 1], [1, 0]]
    array = np.array(values, to_numpy(datatype))
    outputs = [
        (TensorSpec("y", datatype, (-1, 2), labels=("no", "ja"), unit="m"), array),
        (TensorSpec("first", datatype, (-1,)), array[:, 0]),
    ]

    table = pa.ipc.open_stream(write_stream(outputs)).read_all()

    assert table.column("y").to_pylist() == array.tolist()
    assert table.column("first").to_pylist() == array[:, 0].tolist()
    assert table.schema.field("y").metadata == {b"labels": b'["no", "ja"]', b"unit": b"m"}


def test_outputs_of_more_axes_are_lists_of_lists() -> None:
    array = np.arange(12, dtype=np.float32).reshape(2, 3, 2)

    table = pa.ipc.open_stream(write_stream([(TensorSpec("y", "FP32", (-1, 3, 2)), array)])).read_all()

    assert table.column("y").to_pylist() == array.tolist()


@pytest.mark.parametrize("shapes", [[(2,), (3,)], [()]], ids=["different lengths", "scalar"])
def test_outputs_that_are_no_columns_are_not_acceptable(shapes: list[tuple[int, ...]]) -> None:
    outputs = [(TensorSpec(f"y{index}", "FP32", ()), np.zeros(shape, np.float32)) for index, shape in enumerate(shapes)]

    with pytest.raises(NotAcceptable, match="Accept JSON"):
        write_stream(outputs)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(UnsupportedMediaType, match=r"pip install 'axon-serving\[arrow\]'"):
        read_stream(b"", Columns("m", PEOPLE), Budget(LIMIT))
