"""A client that others wrote, tritonclient.grpc, against a real server process: blocking, with callbacks, streaming, asyncio."""

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

DEADLINE = 60.0
ROWS = np.array([[1, 2, 3, 4], [-1, 0.5, 0, 1e-3]], dtype=np.float32)


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as connected:
        yield connected


def tensor(name: str, rows: Any, datatype: str = "FP32") -> triton.InferInput:
    made = triton.InferInput(name, list(rows.shape), datatype)
    made.set_data_from_numpy(rows)
    return made


def test_server_and_models_are_found(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("affine")
    assert client.is_model_ready("affine", "1")
    assert not client.is_model_ready("affine", "9")
    assert not client.is_model_ready("unknown")
    assert not client.is_model_ready("broken")
    assert client.get_server_metadata(as_json=True)["name"] == "axon"


def test_signature_is_read(client: triton.InferenceServerClient) -> None:
    assert client.get_model_metadata("affine", as_json=True) == {
        "name": "affine",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": ["-1", "3"]}],
    }


@pytest.mark.parametrize(
    ("model", "datatype", "rows"),
    [
        pytest.param("integers", "INT64", np.array([[2**63 - 1, -(2**63)], [2**53 + 1, 0]]), id="integers"),
        pytest.param("strings", "BYTES", np.array([["größer", ""]], dtype=object), id="strings"),
    ],
)
def test_values_come_back_unchanged(client: triton.InferenceServerClient, model: str, datatype: str, rows: Any) -> None:
    values = client.infer(model, [tensor("x", rows, datatype)]).as_numpy("y")

    if datatype == "BYTES":
        assert [value.decode() for value in values.reshape(-1)] == rows.reshape(-1).tolist()
    else:
        np.testing.assert_array_equal(values, rows, strict=True)


def test_rows_are_run_and_the_id_comes_back(client: triton.InferenceServerClient, graphs: Any) -> None:
    answer = client.infer("affine", [tensor("x", ROWS)], request_id="7", model_version="1")

    np.testing.assert_allclose(answer.as_numpy("y"), ROWS @ graphs.weights, rtol=1e-6)
    response = answer.get_response()
    assert (response.id, response.model_name, response.model_version) == ("7", "affine", "1")


def test_only_requested_outputs_are_given_in_their_order(client: triton.InferenceServerClient) -> None:
    inputs = [tensor(name, np.array([[value, 1]], np.float32)) for name, value in (("b", 2), ("a", 5))]
    wanted = [triton.InferRequestedOutput("difference"), triton.InferRequestedOutput("sum")]

    both = client.infer("summed", inputs, outputs=wanted)
    one = client.infer("summed", inputs, outputs=wanted[:1])

    assert [output.name for output in both.get_response().outputs] == ["difference", "sum"]
    np.testing.assert_array_equal(both.as_numpy("difference"), [[3, 0]])
    np.testing.assert_array_equal(both.as_numpy("sum"), [[7, 2]])
    assert one.as_numpy("sum") is None


def test_classes_have_values_positions_and_labels(client: triton.InferenceServerClient) -> None:
    wanted = [triton.InferRequestedOutput("y", class_count=2)]

    classes = client.infer("affine", [tensor("x", np.ones((1, 4), np.float32))], outputs=wanted).as_numpy("y")

    assert classes.tolist() == [[b"2.600000:2:blue", b"2.200000:1:green"]]


def test_error_says_what_is_wrong(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"has shape \[1, 5\]; expected \[-1, 4\]") as raised:
        client.infer("affine", [tensor("x", np.ones((1, 5), np.float32))])

    assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_timeouts_of_server_and_client_end_a_slow_request(client: triton.InferenceServerClient) -> None:
    inputs = [tensor("x", np.ones((640, 4), np.float32))]

    for limit in ({"timeout": 1000}, {"client_timeout": 0.02}):
        with pytest.raises(InferenceServerException) as raised:
            client.infer("slow", inputs, **limit)
        assert raised.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_priority_and_compression_are_taken(client: triton.InferenceServerClient) -> None:
    answer = client.infer("affine", [tensor("x", ROWS)], priority=1, compression_algorithm="gzip", parameters={"note": "mine"})

    assert answer.as_numpy("y").shape == (2, 3)


def test_shared_memory_is_refused(client: triton.InferenceServerClient) -> None:
    shared = triton.InferInput("x", [1, 4], "FP32")
    shared.set_shared_memory("region", 16)

    with pytest.raises(InferenceServerException, match="shared memory"):
        client.infer("affine", [shared])
    with pytest.raises(InferenceServerException) as raised:
        client.get_system_shared_memory_status()
    assert raised.value.status() == "StatusCode.UNIMPLEMENTED"


def test_answers_come_by_callback(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[Any] = queue.Queue()

    for index in range(8):
        rows = np.full((1, 4), index, np.float32)
        client.async_infer("affine", [tensor("x", rows)], lambda result, error: answers.put((result, error)), request_id=str(index))
    results = [answers.get(timeout=DEADLINE) for _ in range(8)]

    assert [error for _, error in results] == [None] * 8
    assert {result.get_response().id for result, _ in results} == {str(index) for index in range(8)}


def test_stream_answers_each_message_in_order_and_an_error_ends_only_its_own(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))

    for index in range(100):
        rows = np.full((1, 5 if index == 50 else 4), index, np.float32)
        client.async_stream_infer("affine", [tensor("x", rows)], request_id=str(index))
    results = [answers.get(timeout=DEADLINE) for _ in range(100)]
    client.stop_stream()

    assert [index for index, (_, error) in enumerate(results) if error] == [50]
    assert "has shape [1, 5]" in str(results[50][1])
    assert [result.get_response().id for result, error in results if not error] == [str(i) for i in range(100) if i != 50]


def test_stream_marks_answers_as_final_for_clients_that_ask(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))

    client.async_stream_infer("affine", [tensor("x", ROWS)], enable_empty_final_response=True)
    result, error = answers.get(timeout=DEADLINE)
    client.stop_stream()

    assert error is None
    assert result.get_response().parameters["triton_final_response"].bool_param


def test_configuration_is_that_of_rest(client: triton.InferenceServerClient, server: Any) -> None:
    config = client.get_model_config("affine", as_json=True)["config"]

    rest = server.get("/v2/models/affine/config").json()
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("affine", "onnxruntime", rest["max_batch_size"])
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["4"]}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": ["3"]}]
    assert config["version_policy"] == {"latest": {"num_versions": 1}}
    assert int(config["dynamic_batching"]["default_queue_policy"]["max_queue_size"]) == 4096


def test_statistics_count_requests_rows_and_times(client: triton.InferenceServerClient) -> None:
    def counted() -> Any:
        (entry,) = client.get_inference_statistics("summed", "1").model_stats
        return entry

    inputs = [tensor(name, np.ones((3, 2), np.float32)) for name in ("a", "b")]
    client.infer("summed", inputs)
    before = counted()

    client.infer("summed", inputs)
    after = counted()

    assert (after.name, after.version) == ("summed", "1")
    assert after.inference_count - before.inference_count == 3
    assert after.execution_count - before.execution_count == 1
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert after.last_inference >= before.last_inference > 0
    assert {entry.name for entry in client.get_inference_statistics().model_stats} >= {"affine", "summed", "slow"}


def test_index_lists_states_and_reasons(client: triton.InferenceServerClient) -> None:
    index = {entry.name: entry for entry in client.get_model_repository_index().models}

    assert (index["affine"].version, index["affine"].state, index["affine"].reason) == ("1", "READY", "")
    assert index["broken"].state == "UNAVAILABLE"
    assert "model.onnx" in index["broken"].reason


def test_load_and_unload_are_refused_unless_switched_on(client: triton.InferenceServerClient) -> None:
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="--model-control explicit") as raised:
            change("affine")
        assert raised.value.status() == "StatusCode.PERMISSION_DENIED"


def test_models_are_unloaded_and_loaded_by_calls(running: Any, address_of: Any, save: Any, graphs: Any, tmp_path: Path) -> None:
    save(graphs.affine(), tmp_path / "affine" / "1")
    save(graphs.affine(), tmp_path / "other" / "1")
    with (
        running(tmp_path, "--model-control", "explicit") as server,
        triton.InferenceServerClient(address_of(server)) as client,
    ):
        client.unload_model("affine")
        unloaded = client.is_model_ready("affine")
        with pytest.raises(InferenceServerException) as gone:
            client.infer("affine", [tensor("x", ROWS)])
        ready = client.is_server_ready()
        client.load_model("affine")
        loaded = client.is_model_ready("affine")
        refusals = []
        for change in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException) as unknown:
                change("unknown")
            refusals.append(unknown.value.status())
        client.load_model("affine", config='{"max_batch_size": 7}')
        reconfigured = client.get_model_config("affine").config.max_batch_size
        with pytest.raises(InferenceServerException, match="takes no files"):
            client.load_model("affine", config="{}", files={"file:1/model.onnx": b"x"})

    assert (unloaded, ready, loaded, reconfigured) == (False, True, True, 7)
    assert gone.value.status() == "StatusCode.NOT_FOUND"
    assert refusals == ["StatusCode.NOT_FOUND"] * 2


def test_load_goes_on_when_its_caller_leaves(running: Any, address_of: Any, save: Any, graphs: Any, tmp_path: Path) -> None:
    save(graphs.affine(), tmp_path / "affine" / "1")
    with (
        running(tmp_path, "--model-control", "explicit") as server,
        triton.InferenceServerClient(address_of(server)) as client,
    ):
        save(graphs.slow(), tmp_path / "slow" / "1")
        with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
            client.load_model("slow", client_timeout=0.1)
        client.load_model("slow")
        ready = client.is_model_ready("slow")

    assert ready


@pytest.mark.anyio
async def test_asyncio_client_infers_and_streams(address: str, graphs: Any) -> None:
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        answer = await client.infer("affine", [tensor("x", ROWS)])

        async def requests() -> Any:
            for index in range(3):
                yield {"model_name": "affine", "inputs": [tensor("x", ROWS * index)], "request_id": str(index)}

        streamed = [result async for result in client.stream_infer(requests())]

    np.testing.assert_allclose(answer.as_numpy("y"), ROWS @ graphs.weights, rtol=1e-6)
    assert [error for _, error in streamed] == [None] * 3
    assert [result.get_response().id for result, _ in streamed] == ["0", "1", "2"]
