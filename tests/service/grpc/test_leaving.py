"""Callers who leave, deadlines that pass, and a server that stops."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2

Code = grpc.StatusCode
DEADLINE = 60.0


@pytest.fixture
def slow(running: Any, save: Any, graphs: Any, tmp_path: Path) -> Iterator[Any]:
    """Run a server whose only model takes about a tenth of a second a row, one row at a time."""
    save(graphs.slow(), tmp_path / "slow" / "1")
    (tmp_path / "slow" / "model.toml").write_text("[batching]\nmax_batch_size = 1\n")
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def one_row(request_of: Callable[..., Any]) -> Any:
    return request_of("slow", ("x", "FP32", np.ones((1, 4), np.float32)))


def rows(count: int, request_of: Callable[..., Any]) -> Any:
    return request_of("slow", ("x", "FP32", np.ones((count, 4), np.float32)))


def test_cancelled_call_leaves_the_queue(slow: Any, stub_of: Any, request_of: Callable[..., Any], one_row: Any) -> None:
    stub = stub_of(slow)
    call = stub.calls.ModelInfer.future(rows(400, request_of), timeout=DEADLINE)
    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") > 100)

    call.cancel()

    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") == 0)
    assert slow.metric("axon_inference_requests_total", model="slow", outcome="cancelled") == 1
    assert stub.infer(one_row).outputs[0].shape == [1, 4]


def test_call_whose_connection_breaks_leaves_the_queue(slow: Any, stub_of: Any, request_of: Callable[..., Any]) -> None:
    stub = stub_of(slow)
    call = stub.calls.ModelInfer.future(rows(400, request_of), timeout=DEADLINE)
    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") > 100)

    stub.channel.close()

    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") == 0)
    assert call.code() is Code.CANCELLED


def test_broken_stream_takes_its_requests_out_of_the_queue(slow: Any, stub_of: Any, request_of: Callable[..., Any]) -> None:
    call = stub_of(slow).calls.ModelStreamInfer(iter([rows(200, request_of)] * 3), timeout=DEADLINE)
    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") > 300)

    call.cancel()

    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") == 0)


def test_deadline_that_cannot_be_kept_is_refused_at_once(
    slow: Any, stub_of: Any, request_of: Callable[..., Any], one_row: Any
) -> None:
    stub = stub_of(slow)
    for _ in range(3):
        stub.infer(one_row)  # now the time of a run is known
    started = time.monotonic()

    error = stub.refusal(rows(4000, request_of), timeout=2.0)

    assert error.code() is Code.DEADLINE_EXCEEDED
    assert "needs at least" in error.details()
    assert time.monotonic() - started < 1.5


def test_deadline_that_passes_frees_the_queue(slow: Any, stub_of: Any, request_of: Callable[..., Any]) -> None:
    error = stub_of(slow).refusal(rows(400, request_of), timeout=0.3)

    assert error.code() is Code.DEADLINE_EXCEEDED
    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") == 0)


def test_shorter_of_deadline_and_timeout_holds(slow: Any, stub_of: Any, one_row: Any) -> None:
    one_row.parameters["timeout"].int64_param = 1

    assert stub_of(slow).refusal(one_row, timeout=DEADLINE).code() is Code.DEADLINE_EXCEEDED


def test_stop_says_so_at_once_and_finishes_what_was_accepted(slow: Any, stub_of: Any, request_of: Callable[..., Any]) -> None:
    stub = stub_of(slow)
    watch = health_pb2_grpc.HealthStub(stub.channel).Watch(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
    states = [next(watch).status]
    call = stub.calls.ModelInfer.future(rows(20, request_of), timeout=DEADLINE)
    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") > 0)

    slow.process.send_signal(signal.SIGTERM)
    states += [answer.status for answer in watch]
    done_before = call.done()
    answer = call.result()

    assert states == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
    assert not done_before
    assert list(answer.outputs[0].shape) == [20, 4]
    assert slow.ended() == 0
    assert "Traceback" not in slow.log


def test_stop_ends_open_streams_after_what_they_sent(slow: Any, stub_of: Any, request_of: Callable[..., Any]) -> None:
    never = iter(lambda: time.sleep(DEADLINE), 1)

    def messages() -> Iterator[Any]:
        yield rows(20, request_of)
        yield from never

    call = stub_of(slow).calls.ModelStreamInfer(messages(), timeout=DEADLINE)
    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") > 0)

    slow.process.send_signal(signal.SIGTERM)
    answers = list(call)

    assert [list(answer.infer_response.outputs[0].shape) for answer in answers] == [[20, 4]]
    assert slow.ended() == 0


def test_stop_under_load_answers_every_call_that_arrived(
    running: Any, repository: Path, address_of: Callable[[Any], str], request_of: Callable[..., Any]
) -> None:
    """Clients that ask again at once are led to the other server; none is told that its call was cancelled."""
    body = request_of().SerializeToString()

    async def ask(infer: Any, over: asyncio.Event) -> list[Code]:
        codes: list[Code] = []
        while not over.is_set():
            call = infer(body, timeout=DEADLINE)
            codes.append(await call.code())
        return codes

    async def load(leaving: Any, staying: Any) -> list[Code]:
        addresses = ",".join(address_of(server) for server in (leaving, staying))
        over = asyncio.Event()
        async with grpc.aio.insecure_channel(f"ipv4:{addresses}") as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            clients = [asyncio.create_task(ask(infer, over)) for _ in range(64)]
            await asyncio.sleep(1)
            leaving.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(leaving.ended) == 0
            over.set()
            return [code for codes in await asyncio.gather(*clients) for code in codes]

    with running(repository) as leaving, running(repository) as staying:
        codes = asyncio.run(load(leaving, staying))
        taken_over = staying.metric("axon_inference_requests_total", model="affine", outcome="ok")

    assert set(codes) == {Code.OK}
    assert taken_over > 0
    assert "Traceback" not in leaving.log


def test_calls_that_take_too_long_are_cut_off_at_the_stop(
    running: Any, stub_of: Any, save: Any, graphs: Any, tmp_path: Path, request_of: Callable[..., Any]
) -> None:
    save(graphs.slow(), tmp_path / "slow" / "1")
    (tmp_path / "slow" / "model.toml").write_text("[batching]\nmax_batch_size = 1\n")
    with running(tmp_path, AXON_SHUTDOWN_TIMEOUT="1") as server:
        call = stub_of(server).calls.ModelInfer.future(rows(4000, request_of), timeout=DEADLINE)
        server.until(lambda: server.metric("axon_inference_pending_rows", model="slow") > 0)
        started = time.monotonic()

        status = server.stop()

        assert call.code() in (Code.UNAVAILABLE, Code.CANCELLED)
        assert status == 0
        assert time.monotonic() - started < 10
        assert "Traceback" not in server.log


def test_second_signal_hurries(slow: Any, stub_of: Any, request_of: Callable[..., Any]) -> None:
    call = stub_of(slow).calls.ModelInfer.future(rows(4000, request_of), timeout=DEADLINE)
    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") > 0)
    started = time.monotonic()

    slow.process.send_signal(signal.SIGTERM)
    slow.until(lambda: not slow.accepts())
    slow.process.send_signal(signal.SIGTERM)

    assert slow.ended() == 0
    assert time.monotonic() - started < 10
    assert call.code() is not Code.OK


def test_messages_of_a_stream_share_runs(
    running: Any, stub_of: Any, save: Any, graphs: Any, tmp_path: Path, one_row: Any, request_of: Callable[..., Any]
) -> None:
    """The model works on the four runs of the first message when the others arrive."""
    save(graphs.slow(), tmp_path / "slow" / "1")
    (tmp_path / "slow" / "model.toml").write_text("[batching]\nmax_batch_size = 40\npreferred_batch_size = 40\n")
    with running(tmp_path) as server:
        messages = [rows(160, request_of), *[one_row] * 40]

        answers = list(stub_of(server).calls.ModelStreamInfer(iter(messages), timeout=DEADLINE))

        assert len(answers) == 41
        assert all(answer.error_message == "" for answer in answers)
        assert server.metric("axon_inference_runs_total", model="slow") < 4 + 20


def test_stream_is_not_read_ahead_without_bounds(slow: Any, stub_of: Any, request_of: Callable[..., Any]) -> None:
    """What is beyond the first 64 messages waits at the client until answers have been taken."""
    call = stub_of(slow).calls.ModelStreamInfer(iter([rows(10, request_of)] * 300), timeout=DEADLINE)
    slow.until(lambda: slow.metric("axon_inference_pending_rows", model="slow") > 500)
    most = max(slow.metric("axon_inference_pending_rows", model="slow") for _ in range(20))
    call.cancel()

    assert most <= 640


def test_malformed_message_of_a_stream_is_answered_in_it(stub: Any) -> None:
    stream = stub.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")

    (answer,) = stream(iter([b"\xffgarbage"]), timeout=DEADLINE)

    assert "cannot be read" in service_pb2.ModelStreamInferResponse.FromString(answer).error_message
