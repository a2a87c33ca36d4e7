import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedBody
from service.inference.batcher import Timing
from service.inference.served_model import Answer
from service.protocols.infer_request import InferRequest, RequestedOutput
from service.protocols.open_inference import decode, decode_raw, encode
from service.protocols.parameters import OutputOptions, RequestOptions
from service.repository.datatypes import DATATYPES, Datatype, to_numpy
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]
TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
ANONYMOUS = InferRequest(inputs={})


def decoded(**keys: Any) -> InferRequest:
    return decode(json.dumps({"inputs": [TENSOR]} | keys).encode())


def encoded(array: Array, datatype: Datatype = "FP32", request: InferRequest = ANONYMOUS) -> dict[str, Any]:
    spec = TensorSpec("y", datatype, (-1,) * array.ndim)
    answer = Answer([(spec, array)], Timing(queue_seconds=0.0, compute_seconds=0.0))
    answered = encode(answer, model="m", version=3, request=request)
    body: dict[str, Any] = json.loads(answered.parts[0])
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
    assert request.output_names == ("y",)
    assert request.outputs[0].options.binary is False


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
    bits = np.array([[0, 0x3F80], [0x4000, 0]], dtype=np.uint16)
    numbers = bits if datatype == "BF16" else np.array([[0, 1], [1, 0]], dtype=to_numpy(datatype))
    array = np.array([["a", "ü\n"], ["", '"']], dtype=object) if datatype == "BYTES" else numbers.view(to_numpy(datatype))
    values = [0.0, 1.0, 2.0, 0.0] if datatype == "BF16" else array.reshape(-1).tolist()

    (output,) = encoded(array, datatype)["outputs"]

    assert output == {"name": "y", "datatype": datatype, "shape": [2, 2], "data": values}


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
    request = InferRequest(inputs={}, id="ü")

    assert encoded(np.zeros((1,), np.float32), request=request)["id"] == "ü"
    assert "id" not in encoded(np.zeros((1,), np.float32))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_floats_survive_the_way_there_and_back(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)

    (output,) = encoded(array)["outputs"]
    read = decoded(inputs=[output]).inputs["y"]

    np.testing.assert_array_equal(read, array, strict=True)


def mixed(*blobs: bytes, **keys: Any) -> tuple[bytes, int]:
    """Give a body of JSON and the blobs behind it, and the size of the JSON."""
    head = json.dumps({"inputs": [TENSOR]} | keys).encode()
    return head + b"".join(blobs), len(head)


def announced(size: Any, **keys: Any) -> dict[str, Any]:
    tensor = {"name": "b", "shape": [2], "datatype": "INT16", "parameters": {"binary_data_size": size}} | keys
    return {"inputs": [tensor, TENSOR, tensor | {"name": "c"}]}


def test_binary_and_json_inputs_may_stand_side_by_side() -> None:
    body, size = mixed(b"\1\0\2\0", b"\3\0\4\0", **announced(4))

    inputs = decode(body, json_size=size).inputs

    assert {name: array.tolist() for name, array in inputs.items()} == {"b": [1, 2], "x": [[1, 2]], "c": [3, 4]}


@pytest.mark.parametrize(
    ("blobs", "keys", "message"),
    [
        pytest.param([b"\1\0\2\0"], announced(4), r"'c' has the binary_data_size 4; .* and 0 are left", id="blob missing"),
        pytest.param([b"\1\0\2\0"] * 3, announced(4), "has 4 bytes more than its inputs announce", id="blob too many"),
        pytest.param([b"\1\0"] * 2, announced(2), r"'b' has 2 bytes of data, but INT16 of shape \[2\] needs 4", id="too small"),
        pytest.param([], announced(-4), "'b' has the binary_data_size -4", id="negative size"),
        pytest.param([], announced(4.0), "'b' has the binary_data_size 4.0", id="size a float"),
        pytest.param([], announced("4"), "'b' has the binary_data_size 4", id="size a string"),
        pytest.param([], announced(True), "'b' has the binary_data_size True", id="size a boolean"),
        pytest.param([b"\1\0\2\0"] * 2, announced(4, data=[1, 2]), "has both 'data' and a binary_data_size", id="both"),
        pytest.param([b"x"], {}, "has 1 bytes more", id="rest behind JSON inputs"),
        pytest.param([], {"parameters": {"timeout": -1}}, "'timeout' of the request", id="parameter"),
        pytest.param([], {"outputs": [{"name": "y", "parameters": {"classification": 0}}]}, "'classification'", id="no classes"),
    ],
)
def test_binary_mistake_is_named(blobs: list[bytes], keys: dict[str, Any], message: str) -> None:
    body, size = mixed(*blobs, **keys)

    with pytest.raises(MalformedBody, match=message):
        decode(body, json_size=size)


def test_binary_input_needs_the_size_of_the_json() -> None:
    with pytest.raises(MalformedBody, match="the header Inference-Header-Content-Length is missing"):
        decode(mixed(**announced(4))[0])


@pytest.mark.parametrize(
    ("spec", "body", "expected"),
    [
        pytest.param(TensorSpec("x", "INT8", (-1, 2)), b"\1\2", [[1, 2]], id="batch of 1"),
        pytest.param(TensorSpec("x", "INT8", (3,)), b"\1\2\3", [1, 2, 3], id="no batch axis"),
        pytest.param(TensorSpec("x", "INT8", (-1, -1, 2)), b"\1\2\3\4", [[[1, 2], [3, 4]]], id="size that follows"),
        pytest.param(TensorSpec("x", "BYTES", (-1, 1)), "größer".encode(), [["größer"]], id="string"),
        pytest.param(TensorSpec("x", "BYTES", (-1,)), b"", [""], id="empty string"),
    ],
)
def test_raw_bytes_are_the_one_input(spec: TensorSpec, body: bytes, expected: Any) -> None:
    request = decode_raw(body, Signature((spec,), ()))

    assert request.inputs["x"].tolist() == expected
    assert request.options.binary_outputs


@pytest.mark.parametrize(
    ("specs", "body", "message"),
    [
        pytest.param([TensorSpec("x", "INT8", (-1,))] * 2, b"\1", "this one has 2", id="two inputs"),
        pytest.param([TensorSpec("x", "INT8", (-1, -1, -1))], b"\1", "does not follow from raw bytes", id="two open sizes"),
        pytest.param([TensorSpec("x", "INT8", (-1, 2))], b"\1", "has 1 bytes of data, but INT8 of shape", id="too few"),
        pytest.param([TensorSpec("x", "INT16", (-1, -1))], b"\1\2\3", "has 3 bytes of data", id="half a number"),
        pytest.param([TensorSpec("x", "BYTES", (-1, 2))], b"a", "does not follow from raw bytes", id="two strings"),
        pytest.param([TensorSpec("x", "BYTES", (-1, 1))], b"\xff", "no UTF-8", id="no UTF-8"),
    ],
)
def test_raw_bytes_that_do_not_fit_are_refused(specs: list[TensorSpec], body: bytes, message: str) -> None:
    with pytest.raises(MalformedBody, match=message):
        decode_raw(body, Signature(tuple(specs), ()))


def test_outputs_have_the_form_that_was_asked_for() -> None:
    array = np.array([[1.5, 2.5]], np.float32)
    answer = Answer([(TensorSpec(name, "FP32", (-1, 2)), array) for name in "abc"], Timing(0.0, 0.0))
    wanted = (
        RequestedOutput("a", OutputOptions(binary=False)),
        RequestedOutput("b", OutputOptions()),
        RequestedOutput("c", OutputOptions(classes=1)),
    )
    request = InferRequest(inputs={}, outputs=wanted, options=RequestOptions(binary_outputs=True))

    encoded = encode(answer, model="m", version=3, request=request)

    assert encoded.json_size == len(encoded.parts[0])
    assert json.loads(encoded.parts[0])["outputs"] == [
        {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.5]},
        {"name": "b", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
        {"name": "c", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": 14}},
    ]
    assert bytes(encoded.parts[1]) == array.tobytes()
    assert bytes(encoded.parts[2]) == b"\x0a\0\0\0" + b"2.500000:1"


def test_answer_without_binary_outputs_is_json_alone() -> None:
    answer = Answer([(TensorSpec("y", "FP32", (-1,)), np.zeros(1, np.float32))], Timing(0.0, 0.0))

    assert encode(answer, model="m", version=3, request=ANONYMOUS).json_size is None


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        pytest.param([2], [1, [2]], id="list among values"),
        pytest.param([3], [1, [2, 3], []], id="list and an empty list among values"),
        pytest.param([2, 2], [1, 2, 3, [4]], id="list at the end"),
        pytest.param([2, 2], [[1, 2], [3, [4]]], id="list too deep"),
        pytest.param([2, 2], [[1, 2], 3, [4]], id="value beside lists"),
        pytest.param([5000, 2], [*([[0, 0]] * 4998), [0, 0, 0], [0]], id="thousands of lists, two of other lengths"),
        pytest.param([5000, 1, 2], [*([[[0, 0]]] * 4998), [[0, 0], [0]], [[0]]], id="thousands of lists, one moved"),
    ],
)
@pytest.mark.parametrize("name", ["x", "x["], ids=["plain", "bracket in the name"])
def test_list_that_is_not_where_the_shape_has_one_is_refused(shape: list[int], data: Any, name: str) -> None:
    with pytest.raises(MalformedBody, match=f"Input '{re.escape(name)}'"):
        decoded(inputs=[{"name": name, "shape": shape, "datatype": "FP32", "data": data}])


@pytest.mark.parametrize("keys", [{}, {"id": "[["}, {"unknown": [[], [1]]}, {"outputs": [{"name": "]["}]}], ids=str)
def test_brackets_elsewhere_do_no_harm(keys: dict[str, Any]) -> None:
    tensors = [
        TENSOR | {"name": "flat"},
        TENSOR | {"name": "nested", "data": [[1, 2]]},
        {"name": "large", "shape": [5000, 2], "datatype": "INT8", "data": [[1, 2]] * 5000},
        {"name": "other", "shape": [5000, 2], "datatype": "INT8", "data": [[1, 2]] * 5000},
        {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["[", "],["]},
    ]

    inputs = decoded(inputs=tensors, **keys).inputs

    assert list(inputs) == ["flat", "nested", "large", "other", "text"]
    assert inputs["large"].shape == (5000, 2)


def test_irregular_tensor_cannot_borrow_the_lists_of_another() -> None:
    regular = {"name": "a", "shape": [5000, 2], "datatype": "INT8", "data": [[1, 2]] * 5000}
    irregular = {"name": "b", "shape": [5000, 2], "datatype": "INT8", "data": [*([[1, 2]] * 4998), [1, 2, 3], [4]]}

    with pytest.raises(MalformedBody, match="Input 'b' is nested differently"):
        decoded(inputs=[regular, irregular])


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_more_tensors_than_any_model_has_are_refused_before_they_are_read(kind: str) -> None:
    """A million of them, in 60 MB, took 29 seconds and 1 GB."""
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}], kind: [{}] * 5000}

    with pytest.raises(MalformedBody, match=f"has 5000 {kind}; a request may have up to 4096"):
        decode(json.dumps(body).encode())
