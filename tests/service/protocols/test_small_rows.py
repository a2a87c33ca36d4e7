"""What is read in one go is read as it would be otherwise."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import AxonError
from service.protocols import tensorflow_serving
from service.protocols.small_rows import read, read_named
from service.protocols.tensorflow_serving import decode_predict
from service.repository.datatypes import DATATYPES
from service.repository.signature import Signature, TensorSpec

VALUES = (
    st.floats(-60000, 60000).map(repr)
    | st.integers(-200, 300).map(str)
    | st.sampled_from(
        ["-0", "-0.0", "1e2", "1e39", "1e400", "65504", "65520", "NaN", "null", "true", '"a"', "{}", "[]", "01", "2.5"]
    )
    | st.sampled_from(["9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "1e19"])
)
WHOLE = st.integers(0, 127).map(str)
SHAPES = st.lists(st.integers(0, 3), min_size=1, max_size=4)
NAMES = st.sampled_from(['"serving_default"', '""', "null", '"other"', "1", '"tensorflow/serving/predict"'])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw a tensor in rows or columns, right or wrong in some place."""
    element = draw(st.sampled_from([WHOLE, WHOLE, st.booleans().map(json.dumps), VALUES]))

    def written(shape: list[int]) -> str:
        if not shape:
            return draw(element)
        return f"[{','.join(written(shape[1:]) for _ in range(shape[0] + draw(st.sampled_from([0] * 20 + [1]))))}]"

    members = [(draw(st.sampled_from(["instances", "instances", "inputs"])), written(draw(SHAPES)))]
    members += draw(st.lists(st.tuples(st.just("signature_name"), NAMES), max_size=1))
    members += draw(st.lists(st.tuples(st.sampled_from(["instances", "inputs", "a"]), VALUES), max_size=1)) * draw(
        st.integers(0, 1)
    )
    return ("{" + ",".join(f'"{key}": {value}' for key, value in draw(st.permutations(members))) + "}").encode()


def outcome(call: Any, *given: Any, **options: Any) -> Any:
    """Return all that is in a request, or the message of the mistake."""
    try:
        request = call(*given, **options)
    except AxonError as error:
        return type(error), str(error)
    arrays = {name: (array.dtype, array.shape, array.tobytes()) for name, array in request.inputs.arrays.items()}
    return arrays, request.inputs.missing, request.rows


@given(
    bodies(),
    st.sampled_from([datatype for datatype in DATATYPES if datatype != "BYTES"]),
    st.sampled_from([(-1,), (-1, 1), (-1, 2), (-1, 2, 2), ()]),
    st.booleans(),
)
def test_small_request_is_read_as_any_other(body: bytes, datatype: Any, shape: tuple[int, ...], missing: bool) -> None:  # noqa: FBT001
    """With the same arrays, bit by bit, or the same message."""
    signature = Signature((TensorSpec("x", datatype, shape, missing=missing),), ())

    found = outcome(decode_predict, body, "m", signature, limit=10_000)

    assert found == outcome(tensorflow_serving._decode_predict, body, "m", signature, 10_000)


@pytest.mark.parametrize("datatype", [datatype for datatype in DATATYPES if datatype not in {"BYTES", "BF16"}])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_usual_request_is_read_in_one_go(key: str, datatype: Any) -> None:
    values = [[True, False]] if datatype == "BOOL" else [[1, 2]]
    body = json.dumps({"signature_name": "serving_default", key: values}).encode()

    small = read(body, TensorSpec("x", datatype, (-1, 2)))

    assert small is not None
    assert small[0].tolist() == values
    assert small[1] == (1 if key == "instances" else None)


NAMED = st.lists(
    st.tuples(st.sampled_from(["a", "b", "x", "b64"]), VALUES) | st.tuples(st.sampled_from(["a", "b"]), WHOLE), max_size=3
)
NUMBERS = WHOLE | st.floats(-60000, 60000).map(repr)
FITTING = st.permutations(["a", "b"]).flatmap(lambda names: st.tuples(*(st.tuples(st.just(name), NUMBERS) for name in names)))
FULL = st.permutations(["a", "b"]).flatmap(lambda names: st.tuples(*(st.tuples(st.just(name), WHOLE | VALUES) for name in names)))


@given(
    st.lists(FITTING, max_size=3) | st.lists(FULL | NAMED, max_size=3),
    st.sampled_from([datatype for datatype in DATATYPES if datatype != "BYTES"]),
    st.sampled_from([("a", "b"), ("b", "a"), ("x", "a"), ("a", "a"), ()]),
    st.booleans(),
    st.sampled_from([100, 10_000]),
)
@example([(("a", "1"), ("b", "2"))], "FP32", ("a", "a"), False, 1000)
def test_named_rows_are_read_as_any_other(rows: Any, datatype: Any, features: Any, missing: bool, limit: int) -> None:  # noqa: FBT001
    signature = Signature((TensorSpec("x", datatype, (-1, 2), features=features, missing=missing),), ())
    objects = ["{" + ",".join(f'"{name}":{value}' for name, value in row) + "}" for row in rows]
    body = f'{{"instances":[{",".join(objects)}]}}'.encode()

    found = outcome(decode_predict, body, "m", signature, limit=limit)

    assert found == outcome(tensorflow_serving._decode_predict, body, "m", signature, limit)


def test_row_of_features_is_read_in_one_go() -> None:
    spec = TensorSpec("x", "FP32", (-1, 2), features=("a", "b"))

    small = read_named(b'{"instances":[{"b":1.5,"a":2},{"a":3,"b":4}]}', spec, limit=1000)

    assert small is not None
    assert (small[0].tolist(), small[1]) == ([[2, 1.5], [3, 4]], 2)
