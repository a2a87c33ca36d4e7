"""Tables of Arrow, as an IPC stream or as Parquet, into columns by name; outputs into an Arrow stream.

pyarrow comes with the extra `arrow`, and is loaded when the first table comes: it takes as much memory as half of the service.
"""

import importlib
import json
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np

from service.errors import AxonError, MalformedBody, NotAcceptable, SignatureMismatch, UnsupportedMediaType, shown
from service.protocols.arrow_messages import inflated_size
from service.protocols.budget import Budget
from service.protocols.casting import cast
from service.protocols.features import Column, Columns, ModelInputs
from service.repository.signature import TensorSpec

Array = np.ndarray[Any, Any]

STREAM_TYPE: Final = "application/vnd.apache.arrow.stream"
PARQUET_TYPE: Final = "application/vnd.apache.parquet"
_INSTALL: Final = "pip install 'axon-serving[arrow]'"
_ROWS_A_BATCH: Final = 1 << 16
_CELL: Final = 8  # bytes that each cell takes at least once it is read


def read_stream(body: bytes | bytearray, columns: Columns, budget: Budget) -> ModelInputs:
    """Read an IPC stream. Raises MalformedBody, SignatureMismatch, or DecodedTooLarge before too much is decompressed."""
    pyarrow = _pyarrow("pyarrow")
    return _read(lambda: _stream_batches(pyarrow, body, budget), "Arrow stream", columns, budget)


def read_parquet(body: bytes | bytearray, columns: Columns, budget: Budget) -> ModelInputs:
    """Read a Parquet file. Raises like `read_stream`."""
    parquet = _pyarrow("pyarrow.parquet")
    return _read(lambda: _parquet_batches(parquet, body, budget), "Parquet file", columns, budget)


def write_stream(outputs: Sequence[tuple[TensorSpec, Array]]) -> bytes:
    """Write outputs as the columns of a table, values of more axes as lists of fixed size; labels and unit stand in the metadata.

    Raises NotAcceptable if the outputs are no columns of the same length.
    """
    pyarrow = _pyarrow("pyarrow")
    if len({array.shape[:1] for _, array in outputs}) > 1 or not all(array.ndim for _, array in outputs):
        raise NotAcceptable("The outputs are no columns of the same number of rows, so they make no Arrow table. Accept JSON.")
    arrays = [_as_arrow(pyarrow, array) for _, array in outputs]
    fields = [
        pyarrow.field(spec.name, column.type, metadata=_meaning(spec)) for (spec, _), column in zip(outputs, arrays, strict=True)
    ]
    stream = BytesIO()
    table = pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields))
    with pyarrow.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def _pyarrow(module: str) -> Any:  # noqa: ANN401 -- pyarrow has no types
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnsupportedMediaType(
            f"This server reads and writes no Arrow or Parquet: pyarrow is not installed. Install it with: {_INSTALL}"
        ) from error


def _read(batches: Callable[[], list[Any]], kind: str, columns: Columns, budget: Budget) -> ModelInputs:
    try:
        return _inputs(batches(), kind, columns, budget)
    except AxonError:
        raise
    except Exception as error:  # pyarrow raises errors of its own, OSError, and what a broken file brings it to
        raise MalformedBody(f"The body is no readable {kind}: {shown(str(error))}.") from error


def _inputs(batches: list[Any], kind: str, columns: Columns, budget: Budget) -> ModelInputs:
    rows = sum(batch.num_rows for batch in batches)
    if not rows:
        raise MalformedBody(f"The {kind} has no rows.")
    given = {}
    for index, field in enumerate(batches[0].schema):
        column = columns.find(field.name, f"The {kind}")
        if field.name in given:
            raise MalformedBody(f"The {kind} has the column '{shown(field.name)}' twice.")
        given[field.name] = _column(column, [batch.column(index) for batch in batches], f"Column '{shown(field.name)}'", budget)
    return columns.assembled(given, rows=rows)


def _stream_batches(pyarrow: Any, body: bytes | bytearray, budget: Budget) -> list[Any]:  # noqa: ANN401
    for message in pyarrow.ipc.MessageReader.open_stream(body):
        if message.body is not None:
            budget.take(inflated_size(bytes(message.metadata), message.body))
    batches = []
    for batch in pyarrow.ipc.open_stream(body):
        budget.take(batch.num_rows * batch.num_columns * _CELL)  # a column of nulls is of any length without a byte
        batch.validate(full=True)
        batches.append(batch)
    return batches


def _parquet_batches(parquet: Any, body: bytes | bytearray, budget: Budget) -> list[Any]:  # noqa: ANN401
    with parquet.ParquetFile(BytesIO(body)) as file:
        metadata = file.metadata
        budget.take(metadata.num_rows * metadata.num_columns * _CELL)
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        budget.take(sum(group.total_byte_size for group in groups))
        text = [field.name for field in file.schema_arrow if str(field.type) in ("string", "large_string")]
    # A dictionary of strings stays one: a long text that a million rows share is read once.
    with parquet.ParquetFile(BytesIO(body), read_dictionary=text) as file:
        batches = []
        for batch in file.iter_batches(batch_size=_ROWS_A_BATCH):
            budget.take(batch.nbytes)
            batches.append(batch)
        return batches


def _column(column: Column, chunks: list[Any], where: str, budget: Budget) -> tuple[Array, bool]:
    """Turn the chunks of a column into one array of the input's datatype; tell whether there is a null in it."""
    parts = []
    missing = False
    before = 0
    for chunk in chunks:
        if chunk.null_count or str(chunk.type) == "null":
            missing = True
            if not column.may_be_missing:
                row = before + next(index for index, valid in enumerate(chunk.is_valid().to_pylist()) if not valid)
                raise SignatureMismatch(f"{where} is null in row {row}; the model takes no missing values there.")
        before += len(chunk)
        parts.append(_values(chunk, column.spec, where, budget))
    try:
        return np.concatenate(parts), missing
    except ValueError:
        raise SignatureMismatch(f"{where} holds lists of different lengths; all rows of a tensor are of the same shape.") from None


def _values(chunk: Any, spec: TensorSpec, where: str, budget: Budget) -> Array:  # noqa: ANN401
    kind = str(chunk.type)
    if kind.startswith("dictionary"):
        return _from_dictionary(chunk, spec, where, budget)
    if kind in _TEXT:
        return cast(_without_none(chunk.to_numpy(zero_copy_only=False)), spec.datatype, where)
    if kind in _NUMBERS or kind == "bool":
        if chunk.null_count:
            chunk = chunk.cast("double", safe=False).fill_null(float("nan"))
        return cast(chunk.to_numpy(zero_copy_only=False), spec.datatype, where)
    if kind == "null":
        return cast(np.full(len(chunk), "" if spec.datatype == "BYTES" else np.nan), spec.datatype, where)
    if kind.startswith(("list<", "large_list<", "fixed_size_list<")) and not chunk.null_count:
        return _from_lists(chunk, spec, where, budget)
    raise SignatureMismatch(f"{where} is of type {shown(kind)}; expected numbers, booleans, strings, or lists of them.")


def _from_dictionary(chunk: Any, spec: TensorSpec, where: str, budget: Budget) -> Array:  # noqa: ANN401
    words: Array = _values(chunk.dictionary, spec, where, budget)
    positions = chunk.indices.fill_null(len(words)).to_numpy(zero_copy_only=False).astype(np.int64)
    words = np.append(words, np.array(["" if spec.datatype == "BYTES" else np.nan]).astype(words.dtype))
    if words.dtype == object:
        budget.take(int(np.array([len(word) for word in words])[positions].sum()))  # the same text in each row that has it
    chosen: Array = words[positions]
    return chosen


def _from_lists(chunk: Any, spec: TensorSpec, where: str, budget: Budget) -> Array:  # noqa: ANN401
    inner = chunk.flatten()
    size, rest = divmod(len(inner), len(chunk)) if len(chunk) else (0, 0)
    if rest or any(length != size for length in chunk.value_lengths().to_pylist()):
        raise SignatureMismatch(f"{where} holds lists of different lengths; all rows of a tensor are of the same shape.")
    if inner.null_count:
        raise SignatureMismatch(f"{where} has a null in a list; the model takes no missing values there.")
    values = _values(inner, spec, where, budget)
    return values.reshape(len(chunk), size, *values.shape[1:])


def _without_none(values: Array) -> Array:
    return np.array(["" if value is None else value for value in values.tolist()], dtype=object)


def _as_arrow(pyarrow: Any, array: Array) -> Any:  # noqa: ANN401
    column = pyarrow.array(array.reshape(-1).tolist() if array.dtype == object else np.ascontiguousarray(array).reshape(-1))
    for size in reversed(array.shape[1:]):
        column = pyarrow.FixedSizeListArray.from_arrays(column, size)
    return column


def _meaning(spec: TensorSpec) -> dict[str, str]:
    labels = {"labels": json.dumps(spec.labels, ensure_ascii=False)} if spec.labels else {}
    return labels | ({"unit": spec.unit} if spec.unit else {})


_TEXT: Final = frozenset({"string", "large_string", "string_view"})
_NUMBERS: Final = frozenset(
    {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "halffloat", "float", "double"}
)
