"""What is read in one go is read as it would be otherwise; what is not usual is left to the other way."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import MalformedBody
from service.protocols import json_requests
from service.protocols.infer_request import InferRequest, RequestedOutput
from service.protocols.open_inference import decode
from service.protocols.parameters import OutputOptions
from service.protocols.small_requests import read, read_apart
from service.repository.datatypes import DATATYPES, to_numpy

TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2]}
BINARY = {"name": "b", "shape": [2], "datatype": "INT16", "parameters": {"binary_data_size": 4}}
BLOB = b"\1\0\2\0"

# Text of JSON and of what is none, at the borders of what either parser takes.
NUMBERS = (
    *("0", "-0", "1", "-1", "2", "1.0", "-0.0", "0e0", "1e2", "1E+2", "5.1", "-1.5e-3", "0.1", "1e-50", "1e-400", "5e-324"),
    *("127", "128", "-129", "255", "256", "32768", "65504", "65504.0", "65519", "65520", "-65505", "2147483648", "4294967296"),
    *("3.4028235e38", "3.4028235677973366e38", "3.41e38", "-1e39", "1e308", "1e999", "-1e999", "9007199254740993"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615"),
    *(
        "18446744073709551616",
        "1e19",
        "123456789012345678901234567890",
        "0.30000000000000004440892098500626",
        "2.00000005960464477540",
    ),
)
MISTAKES = ("01", "1.", ".5", "+1", "-", "1e", "0x1", "1_0", "NaN", "Infinity", "-Infinity", "nul", "", "1 2", "'a'")
STRINGS = ('""', '"a"', '"x"', '"é"', '"a:b"', '"["', '"\\u0061"', '"\\ud800"', '"a\nb"', '"\\"', '"\0"', '"\u2028"', '"1"')
OTHERS = ("true", "false", "null", "{}", "[]", "[[]]", "[1]", '{"a":1}')
SCALARS = st.sampled_from(NUMBERS) | st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers().map(str)
ANYTHING = SCALARS | st.sampled_from(MISTAKES) | st.sampled_from(STRINGS) | st.sampled_from(OTHERS)


def listed(items: list[str]) -> str:
    return f"[{','.join(items)}]"


def nested(values: list[str], shape: list[int]) -> str:
    for size in reversed(shape[1:]):
        values = [listed(values[start : start + size]) for start in range(0, len(values), max(size, 1))]
    return listed(values)


FITTING: dict[str, st.SearchStrategy[str]] = {
    "BOOL": st.sampled_from(["true", "false"]),
    "BYTES": st.sampled_from(['""', '"a"', '"é"', '"["']),
    "FP16": st.floats(-60000, 60000).map(repr) | st.integers(-2048, 2048).map(str),
    "FP32": st.floats(-1e18, 1e18).map(repr) | st.sampled_from(["-0", "1", "-1.5e-3", "1e-50", "0.1"]),
    "FP64": st.floats(-1e18, 1e18).map(repr) | st.integers(-(2**63), 2**64 - 1).map(str),
}


@st.composite
def objects(draw: st.DrawFn, usual: dict[str, str], rare: dict[str, st.SearchStrategy[str]], *, odd: bool) -> str:
    """Draw the text of an object: its usual members and, if it is odd, rare ones, repeated ones, and perhaps one of them less."""
    members = list(usual.items())
    if odd and members and draw(st.booleans()):
        members.pop(draw(st.integers(0, len(members) - 1)))
    if odd:
        members += [(key, draw(rare[key])) for key in draw(st.lists(st.sampled_from(sorted(rare)), max_size=2))]
    if draw(st.booleans()):
        members = draw(st.permutations(members))
    space = draw(st.sampled_from(["", "", "\n\t\r ", "\x0b"] if odd else ["", " "]))
    return "{" + ",".join(f'{space}"{key}"{space}:{space}{value}' for key, value in members) + "}"


@st.composite
def tensors(draw: st.DrawFn, index: int, *, odd: bool) -> tuple[str, bytes]:
    """Draw an input, and the bytes that it has behind the JSON."""
    datatype = draw(st.sampled_from(DATATYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    count = int(np.prod(shape, dtype=int))
    usual = {"name": f'"x{index}"', "shape": str(shape), "datatype": f'"{datatype}"'}
    rare = dict.fromkeys(("name", "shape", "data", "surprise"), ANYTHING) | {
        "datatype": st.sampled_from(DATATYPES).map(json.dumps) | ANYTHING,
        "parameters": st.sampled_from(["null", "{}", '{"binary_data_size":null}', '{"binary_data_size":4.0}']) | ANYTHING,
    }
    if draw(st.booleans()):
        size = count * (draw(st.sampled_from([1, 2, 4, 8])) if odd else to_numpy(datatype).itemsize)
        blob = bytes(size) if datatype == "BOOL" else draw(st.binary(min_size=size, max_size=size))
        return draw(objects(usual | {"parameters": f'{{"binary_data_size":{len(blob)}}}'}, rare, odd=odd)), blob
    element = draw(st.sampled_from([SCALARS, ANYTHING])) if odd else FITTING.get(datatype, st.integers(0, 127).map(str))
    values = draw(st.lists(element, min_size=count, max_size=count))
    if odd and draw(st.booleans()):
        values.append(draw(element))
    written = nested(values, shape) if draw(st.booleans()) else listed(values)
    return draw(objects(usual | {"data": written}, rare, odd=odd)), b""


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, int]:
    """Draw a request, right or wrong in one place or some, and the size of its JSON."""
    fault = draw(st.sampled_from(["none", "none", "tensor", "request", "byte"]))
    drawn = [draw(tensors(index, odd=fault == "tensor")) for index in range(draw(st.integers(1, 3)))]
    odd = fault == "request"
    flags = st.sampled_from(["true", "false"] + ["null", "1", '"a"'] * odd)
    output = objects({"name": '"y"', "parameters": "{}"}, {"parameters": objects({}, {"binary_data": flags}, odd=True)}, odd=odd)
    wishes = objects(
        {"priority": "1"}, dict.fromkeys(("timeout", "triton_", "a"), ANYTHING) | {"binary_data_output": flags}, odd=odd
    )
    usual = {"inputs": listed([tensor for tensor, _ in drawn])}
    usual |= draw(st.fixed_dictionaries({}, optional={"id": st.sampled_from(['"1"', '""', "null"]), "parameters": wishes}))
    usual |= draw(st.fixed_dictionaries({}, optional={"outputs": st.lists(output, max_size=2).map(listed)}))
    rare = dict.fromkeys(("id", "outputs", "parameters", "inputs", "surprise"), ANYTHING)
    text = draw(objects(usual, rare, odd=odd)).encode()
    if fault == "byte":
        start, length = draw(st.integers(0, len(text))), draw(st.integers(0, 3))
        text = text[:start] + draw(st.binary(max_size=2) | ANYTHING.map(str.encode)) + text[start + length :]
    return text + b"".join(blob for _, blob in drawn), len(text)


def outcome(call: Callable[[], InferRequest]) -> Any:
    """Return all that is in a request, or the message of the mistake."""
    try:
        request = call()
    except MalformedBody as error:
        return str(error)
    arrays = {
        name: (
            array.dtype,
            array.shape,
            array.tolist() if array.dtype == object else array.tobytes(),
            array.flags.c_contiguous,
            array.flags.writeable,
        )
        for name, array in request.inputs.items()
    }
    return list(arrays.items()), request.missing, request.outputs, request.id, list(request.parameters.items()), request.options


@given(bodies(), st.booleans())
@example((b'{"inputs":[{"name":"x","shape":[2],"datatype":"BYTES","data":[["a"],"b"]}]}', 73), False)
@example((b'{"inputs":[{"name":"x","shape":[2],"datatype":"BYTES","data":["a"],"data":["a","b"]}]}', 84), False)
def test_small_request_is_read_as_any_other(body: tuple[bytes, int], has_size: bool) -> None:  # noqa: FBT001 -- drawn
    """With the same arrays, bit by bit, or the same message."""
    text, size = (body[0][: body[1]], None) if not has_size else body
    if size == 0:
        return
    whole = memoryview(text)

    found = outcome(lambda: decode(text, json_size=size))

    assert found == outcome(lambda: json_requests.read(bytes(whole[:size]), None if size is None else whole[size:]))


@given(bodies())
@example((b'{"inputs":[{"name":"x","datatype":"FP32","data": [1, 2],"shape":[2]}]}', 70))
@example((b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data": [1, [2]]}]}', 72))
@example((b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data": [1], "data": [1, 2]}]}', 82))
@example((b'{"id":"\\"data":[],"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data": [1, 2]}]}', 86))
@example((b'{"id":"data","inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data": ["}]"]}]}', 82))
@example((b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data": [[],[null,2]]}]}', 76))
def test_values_apart_from_the_rest_are_read_as_any_other(body: tuple[bytes, int]) -> None:
    text = body[0][: body[1]]

    found = read_apart(text)

    assert found is None or outcome(lambda: found) == outcome(lambda: json_requests.read(text, None))


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        pytest.param([1.5] * 784, [1, 784], id="flat"),
        pytest.param([[[1.5]] * 784], [1, 784, 1], id="nested"),
        pytest.param([None, 1.5], [2], id="null"),
    ],
)
def test_values_of_medium_request_are_read_apart(values: list[Any], shape: list[int]) -> None:
    text = json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": values}], "id": "1"}).encode()

    found = read_apart(text)

    assert found is not None
    assert outcome(lambda: found) == outcome(lambda: json_requests.read(text, None))


@pytest.mark.parametrize("datatype", [datatype for datatype in DATATYPES if datatype != "BF16"])
@pytest.mark.parametrize("deep", [False, True], ids=["flat", "nested"])
def test_usual_request_is_read_in_one_go(datatype: str, *, deep: bool) -> None:
    values: list[Any] = ["a", "b"] if datatype == "BYTES" else [True, False] if datatype == "BOOL" else [1, 2]
    if deep and datatype == "BYTES":
        return
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": datatype, "data": [values] if deep else values}]}

    small = read(json.dumps(body).encode(), None)

    assert small is not None
    assert small.inputs["x"].tolist() == [values]


def test_usual_members_are_read_in_one_go() -> None:
    """All that Triton's client sends, and null for what is left out, as other clients write it."""
    given = {
        "id": "42",
        "inputs": [TENSOR | {"parameters": None}, BINARY],
        "outputs": [{"name": "y"}, {"name": "z", "parameters": {"binary_data": True}}],
        "parameters": {"timeout": 5, "a": "b", "c": False},
    }
    nulls = {"id": None, "parameters": None, "outputs": None, "inputs": [TENSOR]}

    small = read(json.dumps(given).encode(), memoryview(BLOB))
    least = read(json.dumps(nulls).encode(), None)

    assert small is not None
    assert {name: array.tolist() for name, array in small.inputs.items()} == {"x": [[1.5, 2]], "b": [1, 2]}
    assert small.outputs == (RequestedOutput("y", OutputOptions()), RequestedOutput("z", OutputOptions(binary=True)))
    assert (small.id, small.parameters) == ("42", {"timeout": 5, "a": "b", "c": False})
    assert least is not None
    assert (least.id, least.parameters, least.outputs) == (None, {}, ())


@pytest.mark.parametrize(
    ("text", "blobs"),
    [
        pytest.param(b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1],"data":[2]}]}', None, id="key twice"),
        pytest.param(b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[null]}]}', None, id="null"),
        pytest.param(b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP16","data":[65520]}]}', None, id="out of range"),
        pytest.param(b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1],"a":1}]}', None, id="unknown key"),
        pytest.param(json.dumps({"inputs": [BINARY]}).encode(), None, id="no size of the JSON"),
        pytest.param(json.dumps({"inputs": [BINARY]}).encode(), memoryview(BLOB + b"\0"), id="bytes too many"),
        pytest.param(json.dumps({"inputs": [BINARY]}).encode(), memoryview(BLOB[1:]), id="bytes too few"),
    ],
)
def test_what_is_not_usual_is_left_to_the_other_way(text: bytes, blobs: memoryview | None) -> None:
    assert read(text, blobs) is None
