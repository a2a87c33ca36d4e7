import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedBody
from service.inference.batcher import Timing
from service.inference.served_model import Answer
from service.protocols.open_inference import InferRequest, decode, encode, model_metadata, server_metadata
from service.repository.datatypes import DATATYPES, Datatype, to_numpy
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]
TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
ANONYMOUS = InferRequest(inputs={}, missing=frozenset(), outputs=(), id=None, parameters={})


def decoded(**keys: Any) -> InferRequest:
    return decode(json.dumps({"inputs": [TENSOR]} | keys).encode())


def encoded(array: Array, datatype: Datatype = "FP32", request: InferRequest = ANONYMOUS) -> dict[str, Any]:
    spec = TensorSpec("y", datatype, (-1,) * array.ndim)
    answer = Answer([(spec, array)], Timing(queue_seconds=0.0, compute_seconds=0.0))
    body: dict[str, Any] = json.loads(encode(answer, model="m", version=3, request=request))
    return body


def test_request_is_decoded() -> None:
    request = decoded(
        id="42",
        parameters={"a": 1, "b": "c", "d": True, "e": 0.5},
        outputs=[{"name": "y", "parameters": {"binary_data": False}}],
    )

    np.testing.assert_array_equal(request.inputs["x"], np.array([[1, 2]], dtype=np.float32), strict=True)
    assert request.id == "42"
    assert request.parameters == {"a": 1, "b": "c", "d": True, "e": 0.5}
    assert request.outputs == ("y",)


def test_everything_but_inputs_may_be_left_out() -> None:
    request = decoded()

    assert (request.id, request.parameters, request.outputs) == (None, {}, ())


@pytest.mark.parametrize("key", ["id", "parameters", "outputs"])
def test_null_is_as_good_as_absent(key: str) -> None:
    request = decoded(**{key: None})

    assert (request.id, request.parameters, request.outputs) == (None, {}, ())


def test_unknown_keys_are_ignored() -> None:
    assert decoded(surprise={"a": [1]}, inputs=[TENSOR | {"surprise": 1}]).inputs["x"].shape == (1, 2)


def test_empty_id_is_an_id() -> None:
    assert decoded(id="").id == ""


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        pytest.param({"inputs": []}, "has no inputs", id="no inputs"),
        pytest.param({"inputs": None}, "has no inputs", id="inputs null"),
        pytest.param({"inputs": {"x": TENSOR}}, "has no inputs", id="inputs an object"),
        pytest.param({"inputs": [1]}, r"inputs\[0\] must be an object", id="input a number"),
        pytest.param({"inputs": [TENSOR, TENSOR]}, "Input 'x' is given twice", id="input twice"),
        pytest.param({"inputs": [TENSOR | {"name": None}]}, r"inputs\[0\] has no 'name'", id="no name"),
        pytest.param({"inputs": [TENSOR | {"name": 1}]}, r"inputs\[0\] has no 'name'", id="name a number"),
        pytest.param({"inputs": [TENSOR | {"datatype": "FLOAT"}]}, "'FLOAT'; expected one of BOOL, UINT8", id="unknown datatype"),
        pytest.param({"inputs": [TENSOR | {"datatype": None}]}, "missing or no string; expected", id="no datatype"),
        pytest.param({"inputs": [TENSOR | {"shape": None}]}, "'x' has no valid 'shape'", id="no shape"),
        pytest.param({"inputs": [TENSOR | {"shape": [-1, 2]}]}, "'x' has no valid 'shape'", id="negative size"),
        pytest.param({"inputs": [TENSOR | {"shape": [1.0, 2]}]}, "'x' has no valid 'shape'", id="size a float"),
        pytest.param({"inputs": [TENSOR | {"shape": [True, 2]}]}, "'x' has no valid 'shape'", id="size a boolean"),
        pytest.param({"inputs": [TENSOR | {"shape": ["1", 2]}]}, "'x' has no valid 'shape'", id="size a string"),
        pytest.param({"inputs": [TENSOR | {"shape": [2**63]}]}, "'x' has no valid 'shape'", id="size beyond int64"),
        pytest.param({"inputs": [TENSOR | {"shape": [1] * 99}]}, "'x' has no valid 'shape'", id="rank too high"),
        pytest.param({"inputs": [TENSOR | {"shape": [2**62, 2**62]}]}, "has 2 values, but its shape", id="huge shape"),
        pytest.param({"inputs": [TENSOR | {"data": None}]}, "'x' has no 'data' list", id="no data"),
        pytest.param(
            {"inputs": [TENSOR | {"parameters": {"a": {}}}]}, "parameters of Input 'x'", id="object in tensor's parameters"
        ),
        pytest.param({"parameters": {"a": {}}}, "parameters of the request", id="object in parameters"),
        pytest.param({"parameters": {"a": None}}, "parameters of the request", id="null in parameters"),
        pytest.param({"parameters": [1]}, "parameters of the request", id="parameters a list"),
        pytest.param({"id": 1}, "'id' must be a string", id="id a number"),
        pytest.param({"outputs": {}}, "'outputs' must be a list", id="outputs an object"),
        pytest.param({"outputs": ["y"]}, "must be an object with a 'name'", id="output a string"),
        pytest.param({"outputs": [{}]}, "must be an object with a 'name'", id="output without name"),
    ],
)
def test_mistake_is_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedBody, match=message):
        decoded(**keys)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    body=st.binary(max_size=50)
    | JSON.map(json.dumps).map(str.encode)
    | st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "inputs", "outputs", "parameters"), JSON))
    .map(json.dumps)
    .map(str.encode)
    | st.fixed_dictionaries(
        {"inputs": st.lists(st.fixed_dictionaries({key: st.just(value) | JSON for key, value in TENSOR.items()}), max_size=2)}
    )
    .map(json.dumps)
    .map(str.encode)
)
def test_any_body_is_decoded_or_malformed(body: bytes) -> None:
    try:
        request = decode(body)
    except MalformedBody as error:
        assert str(error)  # noqa: PT017 -- either outcome is fine, any other exception is not
    else:
        assert request.inputs


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_is_encoded(datatype: Datatype) -> None:
    values: Any = [["a", "ü\n"], ["", '"']] if datatype == "BYTES" else [[0, 1], [1, 0]]
    array = np.array(values, dtype=to_numpy(datatype))

    (output,) = encoded(array, datatype)["outputs"]

    assert output == {"name": "y", "datatype": datatype, "shape": [2, 2], "data": array.reshape(-1).tolist()}


def test_extremes_are_written_exactly() -> None:
    signed, unsigned = np.iinfo(np.int64), np.iinfo(np.uint64)

    assert encoded(np.array([signed.min, signed.max]), "INT64")["outputs"][0]["data"] == [signed.min, signed.max]
    assert encoded(np.array([unsigned.max]), "UINT64")["outputs"][0]["data"] == [unsigned.max]


def test_what_json_has_not_is_null() -> None:
    (output,) = encoded(np.array([np.nan, np.inf, -np.inf, 1.5], np.float32))["outputs"]

    assert output["data"] == [None, None, None, 1.5]


def test_view_with_strides_is_written_row_by_row() -> None:
    (output,) = encoded(np.arange(6, dtype=np.float32).reshape(2, 3).T)["outputs"]

    assert output["shape"] == [3, 2]
    assert output["data"] == [0, 3, 1, 4, 2, 5]


def test_scalar_is_a_list_of_one() -> None:
    (output,) = encoded(np.array(2.5, np.float32))["outputs"]

    assert (output["shape"], output["data"]) == ([], [2.5])


def test_answer_names_model_and_version_as_strings() -> None:
    body = encoded(np.zeros((1,), np.float32))

    assert (body["model_name"], body["model_version"]) == ("m", "3")


def test_id_is_echoed() -> None:
    request = InferRequest(inputs={}, missing=frozenset(), outputs=(), id="ü", parameters={})

    assert encoded(np.zeros((1,), np.float32), request=request)["id"] == "ü"
    assert "id" not in encoded(np.zeros((1,), np.float32))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_floats_survive_the_way_there_and_back(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)

    (output,) = encoded(array)["outputs"]
    read = decoded(inputs=[output]).inputs["y"]

    np.testing.assert_array_equal(read, array, strict=True)


def test_metadata_says_what_the_tensors_mean() -> None:
    signature = Signature(
        inputs=(TensorSpec("x", "FP32", (-1, 2), features=("age", "height"), value_range=(0.0, 16.0)),),
        outputs=(TensorSpec("y", "FP32", (-1, 2), labels=("no", "yes"), unit="m"),),
    )

    metadata = json.loads(msgspec.json.encode(model_metadata("m", [1, 3], signature)))

    assert metadata == {
        "name": "m",
        "versions": ["1", "3"],
        "platform": "onnx_onnxv1",
        "inputs": [
            {
                "name": "x",
                "datatype": "FP32",
                "shape": [-1, 2],
                "parameters": {"features": ["age", "height"], "value_range": [0.0, 16.0]},
            }
        ],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2], "parameters": {"labels": ["no", "yes"], "unit": "m"}}],
    }


def test_tensor_without_meaning_has_no_parameters() -> None:
    metadata = json.loads(msgspec.json.encode(model_metadata("m", [1], Signature((TensorSpec("x", "FP32", ()),), ()))))

    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": []}]


def test_server_lists_no_extension_that_it_has_not() -> None:
    assert server_metadata("1.2") == {"name": "axon", "version": "1.2", "extensions": []}
