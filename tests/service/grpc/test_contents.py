"""Typed contents into arrays and back."""

import numpy as np
import pytest

from service.errors import MalformedBody
from service.grpc import contents, messages
from service.repository.datatypes import DATATYPES, Datatype, to_numpy

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def extremes(datatype: str) -> list[object]:
    kind = to_numpy(datatype)  # type: ignore[arg-type]
    if datatype == "BYTES":
        return ["größer", ""]
    if datatype == "BOOL":
        return [True, False]
    if kind.kind == "f":
        return [float(np.finfo(kind).max), float("nan")]
    return [int(np.iinfo(kind).min), int(np.iinfo(kind).max)]


@pytest.mark.parametrize("datatype", FIELDS)
def test_values_survive_both_ways(datatype: Datatype) -> None:
    array = np.array([extremes(datatype)], dtype=to_numpy(datatype))
    message = messages.TensorContents()

    contents.fill(message, array, datatype)
    read = contents.to_array(message, datatype=datatype, shape=(1, 2), where="Input 'x'")

    assert [field.name for field, _ in message.ListFields()] == [FIELDS[datatype]]
    np.testing.assert_array_equal(read, array, strict=True)


def test_every_datatype_has_a_field_but_those_that_the_protocol_knows_only_raw() -> None:
    assert set(DATATYPES) - FIELDS.keys() == {"FP16", "BF16"}


@pytest.mark.parametrize(
    ("datatype", "fields", "problem"),
    [
        pytest.param(
            "FP32", {"int_contents": [1, 2]}, "has its values in int_contents; expected them in fp32_contents", id="field"
        ),
        pytest.param("FP32", {"fp32_contents": [1, 2], "fp64_contents": [1]}, "in fp64_contents", id="two fields"),
        pytest.param("FP32", {"fp32_contents": [1]}, "has 1 values, but its shape", id="too few"),
        pytest.param("FP32", {}, "has 0 values, but its shape", id="none"),
        pytest.param("UINT8", {"uint_contents": [1, 256]}, "not of datatype UINT8", id="too large"),
        pytest.param("INT8", {"int_contents": [-129, 0]}, "not of datatype INT8", id="too small"),
        pytest.param("BYTES", {"bytes_contents": [b"a", b"\xff"]}, "string 1 bytes that are no UTF-8", id="no text"),
        pytest.param("FP16", {"fp32_contents": [1, 2]}, "no typed contents", id="half precision"),
        pytest.param("BF16", {"fp32_contents": [1, 2]}, "no typed contents", id="brain floats"),
    ],
)
def test_wrong_contents_are_refused(datatype: Datatype, fields: dict[str, list[object]], problem: str) -> None:
    with pytest.raises(MalformedBody, match=problem):
        contents.to_array(messages.TensorContents(**fields), datatype=datatype, shape=(2,), where="Input 'x'")


def test_no_values_in_a_shape_that_no_array_can_have_are_refused() -> None:
    with pytest.raises(MalformedBody, match="which no tensor can have"):
        contents.to_array(messages.TensorContents(), datatype="FP32", shape=(0, 2**62, 2**62), where="Input 'x'")
