"""Large tensors are taken out of messages, and put into them, as protobuf would."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedBody
from service.grpc import inference, messages, wire

RAW_INPUTS, RAW_OUTPUTS = 7, 6
requests = st.builds(
    messages.InferRequest,
    model_name=st.text(max_size=5),
    id=st.text(max_size=200),
    inputs=st.lists(
        st.builds(dict, name=st.text(max_size=3), shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)), max_size=3
    ),
    raw_input_contents=st.lists(st.binary(max_size=300), max_size=4),
)


@given(request=requests)
def test_raw_tensors_are_what_protobuf_reads_and_the_rest_is_the_request_without_them(request: messages.Message) -> None:
    rest, values = wire.split(request.SerializeToString(), RAW_INPUTS)

    assert [bytes(value) for value in values] == list(request.raw_input_contents)
    del request.raw_input_contents[:]
    assert messages.InferRequest.FromString(rest) == request


@given(values=st.lists(st.binary(max_size=300), max_size=4), name=st.text(max_size=5))
def test_raw_tensors_put_behind_a_message_are_read_from_it(values: list[bytes], name: str) -> None:
    head = messages.InferResponse(model_name=name).SerializeToString()

    message = b"".join(wire.joined(head, RAW_OUTPUTS, values))

    assert messages.InferResponse.FromString(message) == messages.InferResponse(model_name=name, raw_output_contents=values)


def test_message_in_a_message_is_read_from_it() -> None:
    inner = messages.InferResponse(id="7", raw_output_contents=[bytes(1000)])

    message = b"".join(wire.embedded(2, [inner.SerializeToString()]))

    assert messages.StreamInferResponse.FromString(message).infer_response == inner


@given(body=st.binary(max_size=60))
def test_any_bytes_are_split_without_loss(body: bytes) -> None:
    """What cannot be read is left to the parser; nothing is invented, and nothing of it is dropped."""
    rest, values = wire.split(body, RAW_INPUTS)

    taken = sum(len(wire.header(RAW_INPUTS, len(value))) + len(value) for value in values)
    assert len(rest) + taken <= len(body)
    assert values or rest == body


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"\x3a\x05ab", id="a value that is cut off"),
        pytest.param(b"\x3a", id="a tag without a size"),
        pytest.param(b"\x80" * 11, id="a number without an end"),
        pytest.param(b"\x43\x44", id="a group"),
    ],
)
def test_what_cannot_be_stepped_over_stays_in_the_message(tail: bytes) -> None:
    rest, values = wire.split(b"\x3a\x02ab" + tail, RAW_INPUTS)

    assert [bytes(value) for value in values] == [b"ab"]
    assert rest == tail


def test_values_of_all_wire_types_are_stepped_over() -> None:
    others = b"\xc0\x01\x96\x01" + b"\xc1\x01" + bytes(8) + b"\xc5\x01" + bytes(4) + b"\xc2\x01\x01z"

    rest, values = wire.split(others + b"\x3a\x02ab" + others, RAW_INPUTS)

    assert rest == others * 2
    assert [bytes(value) for value in values] == [b"ab"]


def test_raw_tensors_are_views() -> None:
    body = messages.InferRequest(raw_input_contents=[b"abcd"]).SerializeToString()

    _, (value,) = wire.split(body, RAW_INPUTS)

    assert value.obj is body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x3a\x00" * 40_000, id="raw tensors"),
        pytest.param(b"\x2a\x00" * 40_000, id="inputs"),
        pytest.param(b"\x2a\xc0\xf1\x04" + b"\x22\x00" * 40_000, id="parameters of an input"),
        pytest.param(b"\x43\x44" + b"\x2a\x00" * 40_000, id="inputs behind what cannot be stepped over"),
        pytest.param(b"\x2a\xc2\xf1\x04\x43\x44" + b"\x22\x00" * 40_000, id="parameters behind what cannot be stepped over"),
    ],
)
def test_message_of_more_fields_than_any_request_has_is_refused_unparsed(body: bytes) -> None:
    """Ten million empty raw tensors, in 20 MB, took the event loop for 55 seconds and 5 GB."""
    with pytest.raises(MalformedBody, match="more than 32768 fields"):
        inference.unpack(body)


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        pytest.param({"shape": [1] * 1000}, "no valid shape", id="many axes"),
        pytest.param({"contents": {"int64_contents": bytes(9_000_000)}}, "raw_input_contents", id="integers"),
        pytest.param({"contents": {"bytes_contents": [b""] * 4_500_000}}, "raw_input_contents", id="strings"),
        pytest.param({"contents": {"fp32_contents": [1], "int64_contents": bytes(9_000_000)}}, "raw_input_contents", id="both"),
    ],
)
def test_tensor_that_protobuf_would_read_for_seconds_is_refused_unparsed(tensor: dict[str, Any], problem: str) -> None:
    body = messages.InferRequest(inputs=[tensor]).SerializeToString()

    with pytest.raises(MalformedBody, match=problem):
        inference.unpack(body)


def test_large_floats_may_come_in_typed_contents() -> None:
    body = messages.InferRequest(inputs=[{"contents": {"fp32_contents": np.ones(3_000_000, np.float32)}}]).SerializeToString()

    assert len(inference.unpack(body).message.inputs[0].contents.fp32_contents) == 3_000_000
