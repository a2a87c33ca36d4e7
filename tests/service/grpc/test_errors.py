"""The table of statuses, row by row as in REST; awkward bytes; and never an INTERNAL for what a client can send."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

Code = grpc.StatusCode
Request = service_pb2.ModelInferRequest
ROW = np.array([[1, 2, 3, 4]], np.float32)


def request(model: str = "affine", **changes: Any) -> Any:
    """Give a good request with other values for fields of its only input, or of itself."""
    made = Request(model_name=model)
    made.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    made.raw_input_contents.append(ROW.tobytes())
    for name, value in changes.items():
        target = made.inputs[0] if name in ("name", "datatype", "shape") else made
        target.ClearField(name)
        target.MergeFrom(type(target)(**{name: value}))
    return made


def parameters(**values: Any) -> dict[str, service_pb2.InferParameter]:
    return {key: service_pb2.InferParameter(**{f"{kind}_param": value}) for key, (kind, value) in values.items()}


def typed(datatype: str = "FP32", **contents: Any) -> Any:
    made = Request(model_name="affine")
    made.inputs.add(name="x", datatype=datatype, shape=[1, 4], contents=service_pb2.InferTensorContents(**contents))
    return made


def with_output(name: str, **values: Any) -> Any:
    made = request()
    made.outputs.add(name=name, parameters=parameters(**values))
    return made


def doubled() -> Any:
    made = request(raw_input_contents=[ROW.tobytes()] * 2)
    made.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    return made


def mixed() -> Any:
    made = request()
    made.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
    return made


@pytest.mark.parametrize(
    ("refused", "code", "problem"),
    [
        pytest.param(Request(model_name="affine"), Code.INVALID_ARGUMENT, "has no inputs", id="no inputs"),
        pytest.param(request(name="z"), Code.INVALID_ARGUMENT, "no input 'z'", id="unknown input"),
        pytest.param(request(name=""), Code.INVALID_ARGUMENT, "no name", id="input without a name"),
        pytest.param(doubled(), Code.INVALID_ARGUMENT, "given twice", id="duplicate input"),
        pytest.param(request(datatype="INT32"), Code.INVALID_ARGUMENT, "datatype INT32; expected FP32", id="wrong datatype"),
        pytest.param(request(datatype="FP31"), Code.INVALID_ARGUMENT, "'FP31'; expected one of", id="unknown datatype"),
        pytest.param(request(shape=[4, 1]), Code.INVALID_ARGUMENT, r"shape [4, 1]; expected [-1, 4]", id="wrong shape"),
        pytest.param(request(shape=[4]), Code.INVALID_ARGUMENT, "add the batch axis", id="wrong rank"),
        pytest.param(request(shape=[-1, 4]), Code.INVALID_ARGUMENT, "no valid shape", id="negative shape"),
        pytest.param(request(shape=[1] * 40), Code.INVALID_ARGUMENT, "no valid shape", id="too many axes"),
        pytest.param(request(shape=[2**62, 2**62]), Code.INVALID_ARGUMENT, "bytes of data", id="huge shape"),
        pytest.param(request(shape=[0, 4], raw_input_contents=[b""]), Code.INVALID_ARGUMENT, "holds no values", id="batch of 0"),
        pytest.param(
            request(shape=[0, 2**62, 2**62], raw_input_contents=[b""]), Code.INVALID_ARGUMENT, "no tensor", id="no values, huge"
        ),
        pytest.param(
            request(raw_input_contents=[ROW.tobytes()[:-1]]), Code.INVALID_ARGUMENT, "has 15 bytes of data", id="raw too short"
        ),
        pytest.param(request(raw_input_contents=[ROW.tobytes() + b"\0"]), Code.INVALID_ARGUMENT, "has 17 bytes", id="raw too long"),
        pytest.param(
            request(raw_input_contents=[ROW.tobytes()] * 2), Code.INVALID_ARGUMENT, "2 raw_input_contents", id="raw too many"
        ),
        pytest.param(request(raw_input_contents=[]), Code.INVALID_ARGUMENT, "has 0 values", id="no data at all"),
        pytest.param(mixed(), Code.INVALID_ARGUMENT, "in one form", id="raw and typed"),
        pytest.param(typed(fp32_contents=[1, 2, 3]), Code.INVALID_ARGUMENT, "has 3 values", id="typed too few"),
        pytest.param(typed(fp64_contents=[1, 2, 3, 4]), Code.INVALID_ARGUMENT, "fp64_contents; expected", id="other field"),
        pytest.param(typed("FP16", fp32_contents=[1] * 4), Code.INVALID_ARGUMENT, "raw_input_contents", id="FP16 typed"),
        pytest.param(with_output("z"), Code.INVALID_ARGUMENT, "no output 'z'", id="unknown output"),
        pytest.param(with_output("y", classification=("int64", 0)), Code.INVALID_ARGUMENT, "'classification'", id="no classes"),
        pytest.param(
            request(parameters=parameters(triton_x=("bool", True))), Code.INVALID_ARGUMENT, "reserved", id="reserved parameter"
        ),
        pytest.param(
            request(parameters={"empty": service_pb2.InferParameter()}), Code.INVALID_ARGUMENT, "no value", id="empty parameter"
        ),
        pytest.param(
            request(parameters=parameters(timeout=("string", "1"))), Code.INVALID_ARGUMENT, "'timeout'", id="timeout is text"
        ),
        pytest.param(request("unknown"), Code.NOT_FOUND, "'unknown' is not known", id="unknown model"),
        pytest.param(request(model_version="9"), Code.NOT_FOUND, "no version '9'", id="unknown version"),
        pytest.param(request(model_version="one"), Code.NOT_FOUND, "no version 'one'", id="version is no number"),
        pytest.param(request("broken"), Code.UNAVAILABLE, "not ready", id="model that cannot be loaded"),
    ],
)
def test_request_is_refused_with_its_status(stub: Any, refused: Any, code: Code, problem: str) -> None:
    error = stub.refusal(refused)

    assert (error.code(), problem in error.details()) == (code, True), error.details()


def test_failing_run_is_internal_and_its_neighbours_are_not_harmed(stub: Any, request_of: Callable[..., Any]) -> None:
    poison = request_of("lookup", ("x", "INT64", np.array([[9]])))
    good = request_of("lookup", ("x", "INT64", np.array([[2]])))

    error = stub.refusal(poison)

    assert error.code() is Code.INTERNAL
    assert "Model 'lookup' version 1 failed to run" in error.details()
    assert np.frombuffer(stub.infer(good).raw_output_contents[0], np.float32).tolist() == [20.0]


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        pytest.param("ModelMetadata", {"name": "unknown"}, id="metadata"),
        pytest.param("ModelMetadata", {"name": "affine", "version": "9"}, id="metadata of a version"),
        pytest.param("ModelConfig", {"name": "unknown"}, id="configuration"),
        pytest.param("ModelStatistics", {"name": "unknown"}, id="statistics"),
    ],
)
def test_unknown_model_is_not_found(stub: Any, method: str, fields: dict[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.call(method, **fields)

    assert raised.value.code() is Code.NOT_FOUND


def test_model_that_is_not_there_is_not_ready_rather_than_an_error(stub: Any) -> None:
    assert [stub.call("ModelReady", name=name).ready for name in ("affine", "broken", "unknown")] == [True, False, False]


def test_other_repository_is_refused(stub: Any) -> None:
    with pytest.raises(grpc.RpcError, match="one repository"):
        stub.call("RepositoryIndex", repository_name="other")


def test_error_carries_the_id_of_the_call_its_kind_and_its_trace(stub: Any) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    error = stub.refusal(request("unknown"), metadata=(("x-request-id", "mine"), ("traceparent", trace)))

    assert dict(error.trailing_metadata()) == {"x-request-id": "mine", "traceparent": trace, "error-code": "model_not_found"}


def test_unavailable_says_when_to_try_again(stub: Any) -> None:
    trailers = dict(stub.refusal(request("broken")).trailing_metadata())

    assert (trailers["grpc-retry-pushback-ms"], trailers["retry-after"]) == ("1000", "1")


def test_full_queue_is_unavailable(
    running: Any, stub_of: Any, save: Any, graphs: Any, request_of: Callable[..., Any], tmp_path: Path
) -> None:
    """A request of more rows than may wait is taken if nothing else waits, and leaves no room as long as it takes."""
    save(graphs.slow(), tmp_path / "slow" / "1")
    (tmp_path / "slow" / "model.toml").write_text("[batching]\nmax_batch_size = 1\nmax_queue_size = 2\n")
    with running(tmp_path) as server:
        stub = stub_of(server)
        filling = stub.calls.ModelInfer.future(request_of("slow", ("x", "FP32", np.ones((2000, 4), np.float32))), timeout=60)
        server.until(lambda: server.metric("axon_inference_pending_rows", model="slow") > 1000)
        refused = stub.refusal(request("slow"))
        waits = not filling.done()
        filling.cancel()

        assert waits
        assert (refused.code(), dict(refused.trailing_metadata())["error-code"]) == (Code.UNAVAILABLE, "queue_full")


def test_message_beyond_the_limit_is_refused(stub: Any, body_limit: int, alive: Callable[[], bool]) -> None:
    large = request(raw_input_contents=[bytes(body_limit)])

    plain = stub.refusal(large)
    compressed = stub.refusal(large, compression=grpc.Compression.Gzip)

    assert plain.code() is Code.RESOURCE_EXHAUSTED
    assert compressed.code() is Code.RESOURCE_EXHAUSTED
    assert alive()


def test_message_just_within_the_limit_is_read(stub: Any, body_limit: int, request_of: Callable[..., Any]) -> None:
    rows = np.ones((body_limit // 16 - 10, 4), np.float32)

    answer = stub.infer(request_of("affine", ("x", "FP32", rows)))

    assert answer.outputs[0].shape == [len(rows), 3]


METHODS = ("ModelInfer", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelReady", "RepositoryIndex", "RepositoryModelLoad")


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_are_refused(stub: Any, method: str) -> None:
    with pytest.raises(grpc.RpcError, match=f"no inference.{method}Request") as raised:
        stub.bytes(method, b"\xff\xfe\x00garbage")

    assert raised.value.code() is Code.INVALID_ARGUMENT


def test_unknown_method_and_service_are_unimplemented(stub: Any) -> None:
    for service, method in (("inference.GRPCInferenceService", "Nope"), ("nobody.Nothing", "Nope")):
        with pytest.raises(grpc.RpcError) as raised:
            stub.bytes(method, b"", service=service)
        assert raised.value.code() is Code.UNIMPLEMENTED


GOOD = request().SerializeToString()
mutations = st.builds(
    lambda start, length, middle: GOOD[:start] + middle + GOOD[start + length :],
    st.integers(0, len(GOOD)),
    st.integers(0, 10),
    st.binary(max_size=10),
)


@given(body=st.one_of(mutations, st.binary(max_size=100)))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_make_the_server_fail(stub: Any, body: bytes) -> None:
    try:
        stub.bytes("ModelInfer", body)
    except grpc.RpcError as error:
        assert error.code() in (Code.INVALID_ARGUMENT, Code.NOT_FOUND)  # noqa: PT017 -- either may be right


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_request_of_more_tensors_than_any_model_has_is_refused(stub: Any, kind: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.infer(request(**{kind: [{"name": f"t{index}"} for index in range(5000)]}))

    assert raised.value.code() is Code.INVALID_ARGUMENT
    assert f"5000 {kind}" in raised.value.details()


@pytest.mark.parametrize("method", ["ModelInfer", "RepositoryModelLoad", "RepositoryIndex"])
def test_message_of_a_million_fields_is_refused_at_once(stub: Any, method: str, good_request: dict[str, Any], server: Any) -> None:
    """It would take the event loop for seconds; other clients are answered meanwhile."""
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as raised:
        stub.bytes(method, b"\x3a\x00" * 1_000_000)

    assert server.infer("affine", good_request).status_code == 200
    assert raised.value.code() is Code.INVALID_ARGUMENT
    assert time.monotonic() - began < 2.0
