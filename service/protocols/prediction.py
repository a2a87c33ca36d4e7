"""Axon's own call, for people: a body of any kind that is read into inputs, outputs into an answer of the kind that is wanted."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import orjson

from service.errors import NotAcceptable, UnsupportedMediaType, shown
from service.inference.served_model import Answer
from service.protocols import arrow_tables, media_types, numpy_files, pictures
from service.protocols.budget import Budget
from service.protocols.casting import cast, with_batch_axis
from service.protocols.features import Columns, ModelInputs
from service.protocols.json_inputs import JsonInputs
from service.protocols.json_tensors import from_bfloat16
from service.protocols.json_values import Document, is_list, is_object, within_64_bits
from service.protocols.tensorflow_serving import predict_request
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]
Reader = Callable[[bytes | bytearray, str, Signature, Budget], ModelInputs]

ANSWER_TYPES: Final = (media_types.JSON, numpy_files.NPY_TYPE, numpy_files.NPZ_TYPE, arrow_tables.STREAM_TYPE)
DEFAULT_TOP: Final = 5


def refuse_other_bodies(content_type: str | None) -> None:
    """Raise UnsupportedMediaType unless a Content-Type names a kind of body that is read here."""
    _reader(content_type)


def decode(body: bytes | bytearray, content_type: str | None, model: str, signature: Signature, *, limit: int) -> ModelInputs:
    """Decode a body of the kind that its Content-Type names. `limit` bounds what it decodes to, in bytes.

    Raises UnsupportedMediaType, MalformedBody, SignatureMismatch or DecodedTooLarge.
    """
    return _reader(content_type)(body, model, signature, Budget(limit))


def answer_type(accept: str | None) -> str:
    """Return the kind of answer that an Accept header asks for. Raises NotAcceptable."""
    kind = media_types.best(accept, ANSWER_TYPES)
    if kind is None:
        raise NotAcceptable(f"Accept '{shown(accept or '')}' asks for no answer that there is: {', '.join(ANSWER_TYPES)}.")
    return kind


def encode(answer: Answer, *, kind: str, model: str, version: int, top: int) -> bytes:
    """Encode an answer as one of ANSWER_TYPES; in JSON, with the `top` best labels of each row.

    Raises NotAcceptable if these outputs cannot be given in that form.
    """
    outputs = [(spec, from_bfloat16(array) if array.dtype.kind == "V" else array) for spec, array in answer.outputs]
    if kind == numpy_files.NPY_TYPE:
        if len(outputs) != 1:
            raise NotAcceptable(f"The model has {len(outputs)} outputs, and .npy holds one array. Accept another type.")
        return numpy_files.write_npy(outputs[0][1])
    if kind == numpy_files.NPZ_TYPE:
        return numpy_files.write_npz({spec.name: array for spec, array in outputs})
    if kind == arrow_tables.STREAM_TYPE:
        return arrow_tables.write_stream(outputs)
    return _encode_json(outputs, model, version, top)


def _encode_json(outputs: Sequence[tuple[TensorSpec, Array]], model: str, version: int, top: int) -> bytes:
    """Say what the numbers of each row mean, and give the tensors as they are. NaN and infinities, which JSON has not, are null."""
    body: dict[str, Any] = {"model_name": model, "model_version": str(version)}
    if len({array.shape[:1] for _, array in outputs}) == 1 and outputs[0][1].ndim:
        meanings = [_meanings(spec, array, top) for spec, array in outputs]
        names = [spec.name for spec, _ in outputs]
        body["predictions"] = [dict(zip(names, row, strict=True)) for row in zip(*meanings, strict=True)]
    body["outputs"] = [
        {"name": spec.name, "datatype": spec.datatype, "shape": array.shape, "data": _plain(array.reshape(-1))}
        for spec, array in outputs
    ]
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _meanings(spec: TensorSpec, array: Array, top: int) -> Iterator[Any]:
    """Yield what each row of an output says: its best labels with their scores, or its values, with their unit if they have one."""
    for row in array:
        if spec.labels and np.shape(row) == (len(spec.labels),):
            best = np.argsort(-row, kind="stable")[:top] if row.dtype.kind == "f" else np.argsort(row, kind="stable")[::-1][:top]
            yield [{"label": spec.labels[position], "score": row[position]} for position in best]
        else:
            values = _plain(row[0] if np.shape(row) == (1,) else row)
            yield {"value": values, "unit": spec.unit} if spec.unit else values


def _plain(value: Any) -> Any:  # noqa: ANN401 -- an array or one of its values, as orjson writes it
    if not isinstance(value, np.ndarray):
        return value
    return value.tolist() if value.dtype == object else np.ascontiguousarray(value)


def _from_json(body: bytes | bytearray, model: str, signature: Signature, budget: Budget) -> ModelInputs:
    """Read `instances` or `inputs` as TensorFlow Serving has them, a bare list of rows, or one row of named values."""
    with within_64_bits():
        document = Document(body)
        reader = JsonInputs(document, model, signature, budget)
        root = document.root
        if is_object(root) and ("instances" in root or "inputs" in root):
            return predict_request(root, reader).inputs
        inputs, _ = reader.rows(root if is_list(root) else [root], "rows")
        (spec, *others) = signature.inputs
        if others or spec.name not in inputs.arrays:
            return inputs
        return ModelInputs({spec.name: with_batch_axis(inputs.arrays[spec.name], spec)}, inputs.missing)


def _from_picture(body: bytes | bytearray, model: str, signature: Signature, budget: Budget) -> ModelInputs:
    spec = _only_input(model, signature, "A picture")
    return ModelInputs({spec.name: pictures.to_row(body, spec, budget=budget, where="The body")[np.newaxis]})


def _from_npy(body: bytes | bytearray, model: str, signature: Signature, _budget: Budget) -> ModelInputs:
    spec = _only_input(model, signature, "A .npy file")
    return ModelInputs({spec.name: with_batch_axis(cast(numpy_files.read_npy(body), spec.datatype, f"Input '{spec.name}'"), spec)})


def _from_npz(body: bytes | bytearray, model: str, signature: Signature, budget: Budget) -> ModelInputs:
    columns = Columns(model, signature)
    given: dict[str, tuple[Array, bool]] = {}
    for name, array in numpy_files.read_npz(body, budget).items():
        column = columns.find(name, "The archive")
        values = cast(array, column.spec.datatype, f"'{shown(name)}'")
        given[name] = (values if column.position is not None else with_batch_axis(values, column.spec)), False
    return columns.assembled(given, rows=max((len(array) for array, _ in given.values() if array.ndim), default=1))


def _from_stream(body: bytes | bytearray, model: str, signature: Signature, budget: Budget) -> ModelInputs:
    return arrow_tables.read_stream(body, Columns(model, signature), budget)


def _from_parquet(body: bytes | bytearray, model: str, signature: Signature, budget: Budget) -> ModelInputs:
    return arrow_tables.read_parquet(body, Columns(model, signature), budget)


def _only_input(model: str, signature: Signature, what: str) -> TensorSpec:
    if len(signature.inputs) != 1:
        names = ", ".join(f"'{spec.name}'" for spec in signature.inputs[:20])
        raise UnsupportedMediaType(
            f"{what} is one input, but model '{model}' takes {len(signature.inputs)}: {names}. Send JSON or .npz."
        )
    return signature.inputs[0]


def _reader(content_type: str | None) -> Reader:
    kind = media_types.media_type(content_type)
    reader = _READERS.get(media_types.JSON if kind.endswith("+json") else kind)
    if reader is None:
        raise UnsupportedMediaType(f"Content-Type '{shown(kind)}' is not read here. Send one of {', '.join(BODY_TYPES)}.")
    return reader


_READERS: Final[dict[str, Reader]] = {
    media_types.JSON: _from_json,
    "": _from_json,
    "application/x-www-form-urlencoded": _from_json,  # what `curl -d` says of any body
    **dict.fromkeys(pictures.MEDIA_TYPES, _from_picture),
    numpy_files.NPY_TYPE: _from_npy,
    numpy_files.NPZ_TYPE: _from_npz,
    "application/zip": _from_npz,
    arrow_tables.STREAM_TYPE: _from_stream,
    arrow_tables.PARQUET_TYPE: _from_parquet,
}
BODY_TYPES: Final = (
    media_types.JSON,
    *pictures.MEDIA_TYPES,
    numpy_files.NPY_TYPE,
    numpy_files.NPZ_TYPE,
    arrow_tables.STREAM_TYPE,
    arrow_tables.PARQUET_TYPE,
)
