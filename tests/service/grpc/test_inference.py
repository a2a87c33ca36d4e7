"""Tensors over gRPC by plain stubs: every datatype raw and typed, and what stands beside them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from service.protocols.binary_tensors import to_bytes
from service.repository.datatypes import DATATYPES, to_numpy

NUMBERS = [datatype for datatype in DATATYPES if datatype not in ("BYTES", "BF16")]
FIELDS = {"FP32": "fp32_contents", "FP64": "fp64_contents", "INT64": "int64_contents", "UINT64": "uint64_contents"}


@pytest.fixture(scope="module")
def any_type(running: Any, save: Any, graphs: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a server with a model y = x for each datatype, named after it."""
    root: Path = tmp_path_factory.mktemp("types")
    for datatype in NUMBERS:
        save(graphs.identity(datatype), root / datatype / "1")
    with running(root) as server:
        yield server


def values(datatype: str) -> Any:
    kind = to_numpy(datatype)  # type: ignore[arg-type]
    if kind.kind in "iu":
        return np.array([[np.iinfo(kind).min, np.iinfo(kind).max]], kind)
    return np.array([[1, 0]] if kind.kind == "b" else [[np.finfo(kind).max, np.nan]], kind)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_raw_numbers_come_back_bit_by_bit(any_type: Any, stub_of: Any, request_of: Callable[..., Any], datatype: str) -> None:
    array = values(datatype)

    answer = stub_of(any_type).infer(request_of(datatype, ("x", datatype, array)))

    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (datatype, [1, 2])
    assert answer.raw_output_contents[0] == array.tobytes()
    assert not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize("datatype", [datatype for datatype in NUMBERS if datatype != "FP16"])
def test_typed_numbers_come_back_typed_and_raw(any_type: Any, stub_of: Any, datatype: str) -> None:
    """Clients written for KServe and MLServer read the typed contents then, those written for Triton the raw ones."""
    array = values(datatype)
    family = {"b": "bool_contents", "i": "int_contents", "u": "uint_contents"}.get(array.dtype.kind, "")
    contents = {FIELDS.get(datatype, family): array.ravel().tolist()}
    request = service_pb2.ModelInferRequest(model_name=datatype)
    request.inputs.add(name="x", datatype=datatype, shape=[1, 2], contents=service_pb2.InferTensorContents(**contents))

    answer = stub_of(any_type).infer(request)

    assert answer.raw_output_contents[0] == array.tobytes()
    np.testing.assert_array_equal(getattr(answer.outputs[0].contents, next(iter(contents))), array.ravel())


def test_strings_are_taken_raw_and_typed(stub: Any) -> None:
    texts = np.array([["größer", ""]], dtype=object)
    typed = service_pb2.ModelInferRequest(model_name="strings")
    typed.inputs.add(name="x", datatype="BYTES", shape=[1, 2]).contents.bytes_contents.extend([b"gr\xc3\xb6\xc3\x9fer", b""])
    raw = service_pb2.ModelInferRequest(model_name="strings", raw_input_contents=[to_bytes(texts)])
    raw.inputs.add(name="x", datatype="BYTES", shape=[1, 2])

    answers = stub.infer(typed), stub.infer(raw)

    assert [answer.raw_output_contents[0] for answer in answers] == [to_bytes(texts)] * 2
    assert list(answers[0].outputs[0].contents.bytes_contents) == ["größer".encode(), b""]


def test_large_typed_and_text_requests_are_read_beside_the_event_loop(stub: Any) -> None:
    rows = np.arange(400_000, dtype=np.float32).reshape(-1, 4)
    typed = service_pb2.ModelInferRequest(model_name="affine")
    typed.inputs.add(name="x", datatype="FP32", shape=rows.shape).contents.fp32_contents.extend(rows.ravel().tolist())

    answer = stub.infer(typed)

    assert list(answer.outputs[0].shape) == [100_000, 3]


def test_answer_says_where_its_time_went_and_which_version_gave_it(stub: Any, request_of: Callable[..., Any]) -> None:
    answer, call = stub.calls.ModelInfer.with_call(request_of(id="7"), timeout=60, metadata=(("x-request-id", "mine"),))

    trailers = dict(call.trailing_metadata())
    assert answer.id == "7"
    assert trailers["x-request-id"] == "mine"
    assert trailers["x-model-version"] == "1"
    assert [part.split(";dur=")[0] for part in trailers["server-timing"].split(", ")] == ["queue", "compute", "total"]


def test_every_call_has_an_id_of_its_own(stub: Any, request_of: Callable[..., Any]) -> None:
    calls = [stub.calls.ModelInfer.with_call(request_of(), timeout=60)[1] for _ in range(3)]

    assert len({dict(call.trailing_metadata())["x-request-id"] for call in calls}) == 3


def test_requests_over_http_and_grpc_are_counted_together(server: Any, stub: Any, request_of: Callable[..., Any]) -> None:
    before = server.metric("axon_inference_requests_total", model="affine", outcome="ok")

    stub.infer(request_of())

    assert server.metric("axon_inference_requests_total", model="affine", outcome="ok") == before + 1
