"""Bodies of TensorFlow Serving's protocol: whatever comes is a request or a mistake; answers that are no rows."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import AxonError, DecodedTooLarge, InvalidRequest, NotImplementedByModel
from service.inference.batcher import Timing
from service.inference.served_model import Answer
from service.protocols.tensorflow_serving import (
    classes_of,
    decode_examples,
    decode_predict,
    encode_predict,
    value_of,
)
from service.repository.signature import Signature, TensorSpec

SIGNATURES = [
    Signature((TensorSpec("a", "FP32", (-1, 2), features=("b", "c"), missing=True),), ()),
    Signature((TensorSpec("a", "INT64", (-1,)), TensorSpec("b", "BYTES", (-1, 1), missing=True)), ()),
    Signature((TensorSpec("a", "UINT8", (-1, 2, 2)),), ()),
    Signature((TensorSpec("a", "BYTES", (-1,)),), ()),
    Signature((TensorSpec("a", "FP16", ()), TensorSpec("b64", "BOOL", (-1, -1))), ()),
]
NAMES = st.sampled_from(["a", "b", "c", "b64", "instances", "inputs", "examples", "context", "signature_name", "é"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "a", "YQ==", "iVBORw0KGgo=", "serving_default"])
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=10)


@given(
    body=st.binary(max_size=30)
    | st.fixed_dictionaries({}, optional=dict.fromkeys(("instances", "inputs", "examples", "context"), VALUES))
    .map(json.dumps)
    .map(str.encode)
    | VALUES.map(json.dumps).map(str.encode),
    signature=st.sampled_from(SIGNATURES),
    decode=st.sampled_from([decode_predict, decode_examples]),
)
def test_any_body_is_a_request_or_a_mistake(body: bytes, signature: Signature, decode: Any) -> None:
    try:
        request = decode(body, "m", signature, limit=1000)
    except AxonError as error:
        assert error.status in {400, 413}  # noqa: PT017 -- either outcome is fine, any other exception is not
    else:
        arrays = getattr(request, "inputs", request).arrays
        assert arrays.keys() == {spec.name for spec in signature.inputs}


def answer(**outputs: Any) -> Answer:
    return Answer([(TensorSpec(name, "FP32", array.shape), array) for name, array in outputs.items()], Timing(0.0, 0.0))


@pytest.mark.parametrize("array", [np.zeros((), np.float32), np.zeros((1, 2), np.float32)], ids=["scalar", "fewer rows"])
def test_outputs_without_the_rows_of_the_request_need_columns(array: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"so it has no rows\. Send 'inputs' instead"):
        encode_predict(answer(y=array), rows=2)
    assert json.loads(encode_predict(answer(y=array), rows=None)) == {"outputs": array.tolist()}


def test_outputs_of_other_lengths_stand_beside_each_other_in_columns() -> None:
    body = encode_predict(answer(a=np.ones(2, np.float32), b=np.array(np.nan, np.float32)), rows=None)

    assert body == b'{"outputs":{"a":[1.0,1.0],"b":NaN}}'


@pytest.mark.parametrize(
    ("outputs", "count"),
    [
        pytest.param([], 0, id="no labels"),
        pytest.param(["a", "b"], 2, id="two outputs with labels"),
    ],
)
def test_classify_needs_one_output_with_labels(outputs: list[str], count: int) -> None:
    plain = TensorSpec("y", "FP32", (-1, 2))
    labelled = [TensorSpec(name, "FP32", (-1, 2), labels=("no", "yes")) for name in outputs]

    with pytest.raises(NotImplementedByModel, match=f"has {count} outputs with labels"):
        classes_of("m", Signature((), (plain, *labelled)))
    assert classes_of("m", Signature((), (plain, TensorSpec("z", "FP32", (-1, 1), labels=("yes",))))).name == "z"


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(TensorSpec("y", "FP32", (-1, 2)), id="two numbers"),
        pytest.param(TensorSpec("y", "BYTES", (-1,)), id="text"),
        pytest.param(TensorSpec("y", "BOOL", (-1, 1)), id="boolean"),
    ],
)
def test_regress_needs_one_number(spec: TensorSpec) -> None:
    with pytest.raises(NotImplementedByModel, match="one number a row"):
        value_of("m", Signature((), (spec,)))


def test_context_is_not_repeated_beyond_what_a_body_may_take() -> None:
    """A body of 60 MB with ten features in its context and 20 million empty examples would take 8 GB."""
    body = b'{"context": {"b": 1, "c": 2}, "examples": [' + b"{}," * 1000 + b"{}]}"

    with pytest.raises(DecodedTooLarge):
        decode_examples(body, "m", SIGNATURES[0], limit=10_000)
