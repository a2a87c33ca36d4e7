"""Triton's Python client over HTTP, both of its forms, against a real server process."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import triton_to_np_dtype

ROWS = 3


@pytest.fixture(scope="module")
def client(conformance_server: Any) -> Iterator[triton.InferenceServerClient]:
    """Connect the client that blocks."""
    with triton.InferenceServerClient("{}:{}".format(*conformance_server.address)) as connected:
        yield connected


def values_of(datatype: str) -> Any:
    """Give rows of a datatype with its extremes among them."""
    if datatype == "BYTES":
        return np.array([["größer", ""], ["a\x00b", "\n"], ["🙂", "x" * 1000]], dtype=object)
    dtype = np.dtype(triton_to_np_dtype(datatype))
    if dtype.kind == "b":
        return np.array([[True, False], [False, True], [True, True]])
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return np.array([[limits.min, limits.max], [0, 1], [2, 3]], dtype=dtype)


def as_text(array: Any) -> Any:
    return [value.decode() if isinstance(value, bytes) else value for value in array.reshape(-1).tolist()]


def tensor(array: Any, datatype: str, *, name: str = "x", binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


@pytest.mark.parametrize("binary_output", [True, False], ids=["binary out", "JSON out"])
@pytest.mark.parametrize("binary_input", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize(
    "datatype",
    ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"],
)
def test_every_datatype_comes_back(
    datatype: str, *, binary_input: bool, binary_output: bool, client: triton.InferenceServerClient
) -> None:
    """The client itself refuses FP16 in JSON."""
    if datatype == "FP16" and not (binary_input and binary_output):
        binary_input = binary_output = True
    array = values_of(datatype)

    answer = client.infer(
        f"identity_{datatype.lower()}",
        [tensor(array, datatype, binary=binary_input)],
        outputs=[triton.InferRequestedOutput("y", binary_data=binary_output)],
    )

    output = answer.as_numpy("y")
    if datatype == "BYTES":
        assert as_text(output) == as_text(array)
    else:
        np.testing.assert_array_equal(output, array, strict=True)


def test_large_tensors_cross_in_parts(client: triton.InferenceServerClient) -> None:
    """So large that each output is written to the socket by itself, straight from its array."""
    arrays = [np.random.default_rng(seed).random((2, 40_000), dtype=np.float32) for seed in range(2)]

    answers = [client.infer("wide", [tensor(array, "FP32")]).as_numpy("y") for array in arrays]

    for array, answer in zip(arrays, answers, strict=True):
        np.testing.assert_array_equal(answer, array, strict=True)


def test_nan_and_infinities_cross_in_binary_form(client: triton.InferenceServerClient) -> None:
    array = np.array([[np.nan, np.inf], [-np.inf, -0.0]], np.float32)

    output = client.infer("identity_fp32", [tensor(array, "FP32")]).as_numpy("y")

    np.testing.assert_array_equal(output.view(np.uint32), array.view(np.uint32))


def test_without_named_outputs_all_come_in_binary_form(client: triton.InferenceServerClient) -> None:
    a, b = np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)

    answer = client.infer("summed", [tensor(a, "FP32", name="a"), tensor(b, "FP32", name="b", binary=False)])

    assert [output["parameters"] for output in answer.get_response()["outputs"]] == [{"binary_data_size": 8}] * 2
    assert answer.as_numpy("difference").tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("binary", [True, False])
def test_best_classes_carry_their_labels(client: triton.InferenceServerClient, *, binary: bool) -> None:
    array = np.array([[1, 0, 0, 0], [0, 0, 0, 10]], np.float32)

    answer = client.infer(
        "affine", [tensor(array, "FP32")], outputs=[triton.InferRequestedOutput("y", binary_data=binary, class_count=2)]
    )

    assert answer.as_numpy("y").shape == (2, 2)
    assert as_text(answer.as_numpy("y"))[2:] == ["11.000000:2:blue", "10.000000:1:green"]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_bodies_are_compressed_both_ways(algorithm: str, client: triton.InferenceServerClient) -> None:
    array = np.zeros((2000, 2), np.float32)

    answer = client.infer(
        "identity_fp32",
        [tensor(array, "FP32")],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )

    np.testing.assert_array_equal(answer.as_numpy("y"), array, strict=True)


def test_id_is_echoed_and_version_named(client: triton.InferenceServerClient) -> None:
    array = np.ones((1, 2), np.float32)

    answer = client.infer("identity_fp32", [tensor(array, "FP32")], request_id="7", model_version="1").get_response()

    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "identity_fp32", "1")
    assert "id" not in client.infer("identity_fp32", [tensor(array, "FP32")]).get_response()


def test_parameters_are_taken(client: triton.InferenceServerClient) -> None:
    array = np.ones((1, 2), np.float32)

    answer = client.infer(
        "identity_fp32", [tensor(array, "FP32")], priority=1, timeout=5_000_000, parameters={"mine": 1.5}, sequence_id=0
    )

    assert answer.as_numpy("y").tolist() == [[1.0, 1.0]]


def test_timeout_ends_the_wait(client: triton.InferenceServerClient) -> None:
    """A run takes longer than a microsecond."""
    with pytest.raises(triton.InferenceServerException, match=r"did not answer within|needs at least") as raised:
        client.infer("slow", [tensor(np.ones((1, 4), np.float32), "FP32")], timeout=1)

    assert raised.value.status() == "504"


def test_error_is_shown(client: triton.InferenceServerClient) -> None:
    with pytest.raises(triton.InferenceServerException, match=r"has shape \[1, 5\]; expected \[-1, 4\]"):
        client.infer("affine", [tensor(np.ones((1, 5), np.float32), "FP32")])


def test_server_lists_extensions_that_it_has(client: triton.InferenceServerClient) -> None:
    extensions = client.get_server_metadata()["extensions"]

    assert {"binary_tensor_data", "classification", "statistics", "model_configuration", "model_repository"} <= set(extensions)
    assert not {"cuda_shared_memory", "system_shared_memory", "sequence", "trace", "logging"} & set(extensions)


def test_configuration_has_tritons_shape(client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("affine", "1")

    assert (config["name"], config["platform"], config["max_batch_size"]) == ("affine", "onnxruntime_onnx", 64)
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}]
    assert config["version_policy"] == {"latest": {"num_versions": 1}}
    assert config["instance_group"][0]["kind"] == "KIND_CPU"
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0
    assert client.get_model_config("identity_bytes")["input"][0]["data_type"] == "TYPE_STRING"


def test_statistics_count_requests_rows_and_runs(client: triton.InferenceServerClient) -> None:
    (before,) = client.get_inference_statistics("identity_int8", "1")["model_stats"]
    for _ in range(3):
        client.infer("identity_int8", [tensor(np.ones((5, 2), np.int8), "INT8")])
    with pytest.raises(triton.InferenceServerException):
        client.infer("identity_int8", [tensor(np.ones((5, 9), np.int8), "INT8")])

    (after,) = client.get_inference_statistics("identity_int8", "1")["model_stats"]

    assert (after["name"], after["version"]) == ("identity_int8", "1")
    assert after["inference_count"] - before["inference_count"] == 15
    assert after["execution_count"] - before["execution_count"] == 3
    assert after["last_inference"] >= before["last_inference"]
    added = {key: value["count"] - before["inference_stats"][key]["count"] for key, value in after["inference_stats"].items()}
    assert added == {
        "success": 3, "fail": 1, "queue": 3, "compute_input": 3, "compute_infer": 3, "compute_output": 3,
        "cache_hit": 0, "cache_miss": 0,
    }  # fmt: skip
    times = after["inference_stats"]
    assert times["success"]["ns"] >= sum(times[part]["ns"] for part in ("queue", "compute_infer"))
    (batch,) = [batch for batch in after["batch_stats"] if batch["batch_size"] == 5]
    assert batch["compute_infer"]["count"] >= 3
    assert set(after) >= {"response_stats", "memory_usage"}


def test_statistics_of_all_models_are_given_at_once(client: triton.InferenceServerClient) -> None:
    names = {stats["name"] for stats in client.get_inference_statistics()["model_stats"]}

    assert {"affine", "summed", "slow"} <= names
    assert "broken" not in names


def test_models_are_unloaded_and_loaded(client: triton.InferenceServerClient) -> None:
    client.unload_model("wide")
    gone = client.is_model_ready("wide")
    ready = client.is_server_ready()
    client.load_model("wide")

    assert (gone, ready, client.is_model_ready("wide")) == (False, True, True)
    assert {"name": "wide", "version": "1", "state": "READY"} in client.get_model_repository_index()


def test_load_takes_a_configuration(client: triton.InferenceServerClient) -> None:
    override = {
        "max_batch_size": 8,
        "dynamic_batching": {"max_queue_delay_microseconds": 1000},
        "version_policy": {"all": {}},
    }

    client.load_model("wide", config=json.dumps(override))
    set_by_call = client.get_model_config("wide")
    client.load_model("wide", config=json.dumps(set_by_call))
    repeated = client.get_model_config("wide")
    client.load_model("wide")

    assert set_by_call["max_batch_size"] == 8
    assert set_by_call["dynamic_batching"]["max_queue_delay_microseconds"] == 1000
    assert set_by_call["version_policy"] == {"all": {}}
    assert repeated == set_by_call
    assert client.get_model_config("wide")["max_batch_size"] == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"config": "{"}, "'config' is not JSON", id="no JSON"),
        pytest.param({"config": "[]"}, "must be a JSON object", id="no object"),
        pytest.param({"config": '{"name": "other"}'}, "'name' in the configuration must be 'wide'", id="another name"),
        pytest.param({"config": '{"backend": "python"}'}, "'backend' in the configuration must be", id="another backend"),
        pytest.param({"config": '{"ensemble_scheduling": {"step": []}}'}, "'ensemble_scheduling' .* cannot be set", id="ensemble"),
        pytest.param({"config": '{"max_batch_size": -1}'}, "max_batch_size", id="value that cannot be"),
        pytest.param({"config": '{"dynamic_batching": {"x": 1}}'}, "'dynamic_batching' .* unknown field `x`", id="unknown field"),
        pytest.param({"config": "{}", "files": {"file:1/model.onnx": b"x"}}, "takes no files", id="files"),
    ],
)
def test_load_that_cannot_be_done_is_refused_and_changes_nothing(
    options: dict[str, Any], message: str, client: triton.InferenceServerClient
) -> None:
    with pytest.raises(triton.InferenceServerException, match=message) as raised:
        client.load_model("wide", **options)

    assert raised.value.status() == "400"
    assert client.get_model_config("wide")["max_batch_size"] == 64
    assert client.is_model_ready("wide")


def test_what_cannot_be_loaded_or_unloaded_is_named(client: triton.InferenceServerClient) -> None:
    with pytest.raises(triton.InferenceServerException, match="'unknown' is not known"):
        client.load_model("unknown")
    with pytest.raises(triton.InferenceServerException, match="'unknown' is not known"):
        client.unload_model("unknown")
    with pytest.raises(triton.InferenceServerException, match=r"model.onnx is not an ONNX graph"):
        client.load_model("broken")


def asynchronous(server: Any, call: Callable[[triton_aio.InferenceServerClient], Awaitable[Any]]) -> Any:
    async def connected() -> Any:
        async with triton_aio.InferenceServerClient("{}:{}".format(*server.address)) as client:
            return await call(client)

    return asyncio.run(connected())


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
def test_asynchronous_client_gets_the_same(algorithm: str | None, conformance_server: Any) -> None:
    array = np.arange(4000, dtype=np.float32).reshape(-1, 2)

    async def call(client: triton_aio.InferenceServerClient) -> Any:
        assert await client.is_server_ready()
        assert (await client.get_model_config("affine"))["name"] == "affine"
        assert (await client.get_inference_statistics("affine"))["model_stats"]
        answer = await client.infer(
            "identity_fp32",
            [tensor(array, "FP32")],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
        return answer.as_numpy("y")

    np.testing.assert_array_equal(asynchronous(conformance_server, call), array, strict=True)


def test_asynchronous_client_shows_the_error(conformance_server: Any) -> None:
    async def call(client: triton_aio.InferenceServerClient) -> None:
        await client.infer("unknown", [tensor(np.ones((1, 2), np.float32), "FP32")])

    with pytest.raises(triton.InferenceServerException, match="'unknown' is not known"):
        asynchronous(conformance_server, call)
