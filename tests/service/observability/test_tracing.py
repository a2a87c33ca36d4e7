"""Spans of a real server at a real receiver: whose child each is, what is linked, what is sampled, and what is sent at the end."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
from tritonclient.grpc import service_pb2, service_pb2_grpc

from service.observability.tracing import Tracer, path_template

DEADLINE = 30.0
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
UNSAMPLED = PARENT[:-1] + "0"
STAGES = ["batch", "decode", "encode", "queue", "run"]


@pytest.fixture
def models(tmp_path: Path, repository: Path) -> Path:
    """Make a repository with a model that waits a little for company."""
    shutil.copytree(repository / "affine", tmp_path / "models" / "affine")
    (tmp_path / "models" / "affine" / "model.toml").write_text("[batching]\nmax_batch_size = 4\nmax_queue_delay = 2.0\n")
    return tmp_path / "models"


@pytest.fixture
def traced(
    models: Path, collector: Any, running: Callable[..., AbstractContextManager[Any]]
) -> Callable[..., AbstractContextManager[Any]]:
    """Return a context manager: a server that sends its spans to the receiver as soon as they are there."""

    def run(*options: str, **environ: str) -> AbstractContextManager[Any]:
        environ = {"OTEL_BSP_SCHEDULE_DELAY": "50", "AXON_TRACING_ENDPOINT": collector.url} | environ
        return running(models, *options, **environ)

    return run


def attributes(span: Any) -> dict[str, Any]:
    return {entry.key: getattr(entry.value, entry.value.WhichOneof("value")) for entry in span.attributes}


def roots(spans: list[Any]) -> list[Any]:
    return [span for span in spans if span.kind == span.SPAN_KIND_SERVER]


def children(span: Any, spans: list[Any]) -> list[Any]:
    return [each for each in spans if each.parent_span_id == span.span_id and each.trace_id == span.trace_id]


def parts(span: Any, spans: list[Any]) -> list[Any]:
    """Return all spans below a span."""
    return [part for child in children(span, spans) for part in [child, *parts(child, spans)]]


def row(server: Any, *, traceparent: str | None = PARENT, rows: int = 4, timeout_ms: str | None = None) -> requests.Response:
    headers = {"x-request-id": "r-1"} | ({"traceparent": traceparent} if traceparent else {})
    headers |= {"x-request-timeout-ms": timeout_ms} if timeout_ms else {}
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [1.0] * 4 * rows}
    return requests.post(f"{server.url}/v2/models/affine/infer", json={"inputs": [tensor]}, headers=headers, timeout=DEADLINE)


def test_request_is_a_child_of_the_clients_span_and_its_stages_are_children_of_it(traced: Any, collector: Any) -> None:
    with traced() as server:
        answer = row(server)
        spans = collector.spans(6)
    [root] = roots(spans)

    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE_ID, "00f067aa0ba902b7")
    assert answer.headers["traceparent"] == f"00-{TRACE_ID}-{root.span_id.hex()}-01"
    assert root.name == "POST /v2/models/{model}/infer"
    assert sorted(span.name for span in parts(root, spans)) == STAGES
    assert sorted(span.name for span in children(root, spans)) == ["batch", "decode", "encode", "queue"]
    expected = {"axon.model": "affine", "axon.version": "1", "axon.outcome": "ok", "axon.request_id": "r-1"}
    assert (expected | {"http.response.status_code": 200, "http.route": "/v2/models/{model}/infer"}).items() <= attributes(
        root
    ).items()
    for span in parts(root, spans):
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano
    facts = {entry.key: entry.value.string_value for entry in collector.resources[0].attributes}
    assert facts["service.name"] == "axon"


def test_batch_is_linked_to_all_of_its_requests(traced: Any, collector: Any) -> None:
    with traced() as server, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: row(server, traceparent=None, rows=1), range(4)))
        spans = collector.spans(4 * 6)
    requests_ = roots(spans)
    batches = [span for span in spans if span.name == "batch"]
    links = [{(link.trace_id, link.span_id) for link in batch.links} for batch in batches]

    assert len(requests_) == len({root.trace_id for root in requests_}) == len(batches) == 4
    assert [attributes(batch)["axon.batch.requests"] for batch in batches] == [4] * 4
    [leader] = [batch for batch, linked in zip(batches, links, strict=True) if len(linked) == 4]
    assert {(root.trace_id, root.span_id) for root in requests_} == {(link.trace_id, link.span_id) for link in leader.links}
    assert [linked for linked in links if len(linked) == 1] == [{(leader.trace_id, leader.span_id)}] * 3


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/models/affine:predict", {"instances": [[1, 2, 3, 4]] * 4}, "POST /v1/models/{model}:predict"),
        (
            "/v1/models/affine/versions/1:predict",
            {"inputs": [[1, 2, 3, 4]] * 4},
            "POST /v1/models/{model}/versions/{version}:predict",
        ),
        ("/models/affine/predict", {"instances": [[1, 2, 3, 4]] * 4}, "POST /models/{model}/predict"),
    ],
)
def test_other_protocols_over_http_are_traced_alike(traced: Any, collector: Any, path: str, body: Any, name: str) -> None:
    with traced() as server:
        answer = requests.post(server.url + path, json=body, headers={"traceparent": PARENT}, timeout=DEADLINE)
        assert answer.ok, answer.text
        spans = collector.spans(6)
    [root] = roots(spans)

    assert (root.name, root.parent_span_id.hex()) == (name, "00f067aa0ba902b7")
    assert sorted(span.name for span in parts(root, spans)) == STAGES


def test_grpc_is_traced_alike(traced: Any, collector: Any) -> None:
    request = service_pb2.ModelInferRequest(model_name="affine")
    request.inputs.add(name="x", datatype="FP32", shape=[4, 4])
    request.raw_input_contents.append(np.ones((4, 4), np.float32).tobytes())
    with traced() as server, grpc.insecure_channel(server.wait_for(r"gRPC listens on (\S+)").group(1)) as channel:
        call = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        _, answered = call.ModelInfer.with_call(request, metadata=(("traceparent", PARENT),), timeout=DEADLINE)
        with pytest.raises(grpc.RpcError):
            call.ModelMetadata(service_pb2.ModelMetadataRequest(name="nothing"), timeout=DEADLINE)
        spans = collector.spans(7)
    root = next(span for span in roots(spans) if span.name == "inference.GRPCInferenceService/ModelInfer")
    refused = next(span for span in roots(spans) if "NOT_FOUND" in attributes(span).values())

    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE_ID, "00f067aa0ba902b7")
    assert dict(answered.trailing_metadata())["traceparent"] == f"00-{TRACE_ID}-{root.span_id.hex()}-01"
    assert sorted(span.name for span in parts(root, spans)) == STAGES
    assert attributes(root)["rpc.grpc.status"] == "OK"
    assert refused.status.code == refused.status.STATUS_CODE_UNSET, "it is the client's mistake"


def test_failure_of_the_server_is_an_error_of_its_span(traced: Any, collector: Any) -> None:
    with traced() as server:
        assert row(server, rows=1, timeout_ms="20").status_code == 504
        spans = collector.spans(2)
    [root] = roots(spans)

    assert root.status.code == root.status.STATUS_CODE_ERROR
    assert attributes(root)["error.type"] == "deadline_exceeded"


def test_sampling_is_the_clients_if_it_says_so_and_a_part_else(traced: Any, collector: Any) -> None:
    with traced(AXON_TRACING_SAMPLE_RATIO="0") as server:
        assert row(server, traceparent=UNSAMPLED).headers["traceparent"] == UNSAMPLED
        assert "traceparent" not in row(server, traceparent=None).headers
        assert requests.get(f"{server.url}/v2/health/live", headers={"traceparent": PARENT}, timeout=DEADLINE).ok
        row(server, traceparent=PARENT)
        spans = collector.spans(6)
        assert server.stop() == 0

    assert len(roots(collector.spans(6))) == 1
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}


def test_part_of_the_calls_is_sampled() -> None:
    tracer = Tracer("http://127.0.0.1:9", ratio=0.25, server_version="1")
    sampled = sum(tracer.sample(None) is not None for _ in range(4000))
    tracer.close()

    assert 800 < sampled < 1200


def test_last_spans_are_sent_before_the_end(traced: Any, collector: Any) -> None:
    with traced("--workers", "2", OTEL_BSP_SCHEDULE_DELAY="3600000") as server:
        server.wait_for("2 of 2 workers ready")
        for _ in range(3):
            row(server)
        assert server.stop() == 0

    assert len(roots(collector.spans(18))) == 3


def test_collector_that_is_not_there_harms_nothing(traced: Any) -> None:
    with traced(AXON_TRACING_ENDPOINT="http://127.0.0.1:9") as server:
        assert row(server).ok
        assert server.stop() == 0


def test_lines_of_the_log_and_durations_name_the_trace(traced: Any, collector: Any) -> None:
    with traced(AXON_ACCESS_LOG="true") as server:
        row(server)
        collector.spans(6)
        server.wait_for(rf"POST /v2/models/affine/infer 200 .* \[request_id=r-1 trace_id={TRACE_ID}\]")
        text = requests.get(f"{server.url}/metrics", headers={"accept": "application/openmetrics-text"}, timeout=DEADLINE).text
        plain = requests.get(f"{server.url}/metrics", timeout=DEADLINE).text

    assert re.search(rf'axon_inference_request_duration_seconds_bucket{{.*}} 1\.0 # {{trace_id="{TRACE_ID}"}}', text)
    assert TRACE_ID not in plain


def test_missing_extra_is_told_with_the_command_that_installs_it(models: Path, tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['opentelemetry'] = None; from service.cli import main; main()"
    command = [sys.executable, "-c", hidden, "serve", str(models), "--port", "0", "--tracing-endpoint", "http://127.0.0.1:9"]
    environ = {"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": ""}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=environ)

    assert ended.returncode == 1
    assert "pip install 'axon-serving[tracing]'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/v2/models/secret/infer", "/v2/models/{model}/infer"),
        ("/v2/models/secret/versions/7/infer", "/v2/models/{model}/versions/{version}/infer"),
        ("/v1/models/secret/labels/new:predict", "/v1/models/{model}/labels/{label}:predict"),
        ("/v2/models/secret", "/v2/models/{model}"),
        ("/v2/repository/models/secret/load", "/v2/repository/models/{model}/load"),
        ("/v2/models", "/v2/models"),
        ("/v2/models/secret/anything", None),
        ("/secret", None),
    ],
)
def test_names_of_spans_hold_nothing_of_the_clients_choice(path: str, template: str | None) -> None:
    assert path_template(path) == template
