from typing import Any

import pytest

from service.errors import MalformedBody
from service.protocols.parameters import OutputOptions, RequestOptions, output_options, request_options


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        pytest.param({}, RequestOptions(), id="none"),
        pytest.param({"mine": 1, "sequence_id": 0}, RequestOptions(), id="others"),
        pytest.param({"timeout": 1_500_000}, RequestOptions(timeout=1.5), id="timeout in microseconds"),
        pytest.param({"timeout": 0}, RequestOptions(), id="timeout of 0 is none"),
        pytest.param({"priority": 2}, RequestOptions(priority=2), id="priority"),
        pytest.param({"binary_data_output": True}, RequestOptions(binary_outputs=True), id="binary outputs"),
        pytest.param({"binary_data_output": False}, RequestOptions(), id="no binary outputs"),
    ],
)
def test_parameters_of_a_request_are_read(parameters: Any, options: RequestOptions) -> None:
    assert request_options(parameters) == options


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        pytest.param({}, OutputOptions(), id="none"),
        pytest.param({"binary_data": False}, OutputOptions(binary=False), id="not binary"),
        pytest.param({"binary_data": True, "classification": 3}, OutputOptions(binary=True, classes=3), id="binary classes"),
    ],
)
def test_parameters_of_an_output_are_read(parameters: Any, options: OutputOptions) -> None:
    assert output_options(parameters, "Output 'y'") == options


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param({"triton_x": 1}, "'triton_x' is reserved", id="reserved"),
        pytest.param({"timeout": -1}, "'timeout' of the request must be a whole number of 0 or more", id="negative timeout"),
        pytest.param({"timeout": 1.5}, "'timeout' of the request must be a whole number", id="fractional timeout"),
        pytest.param({"timeout": True}, "'timeout' of the request must be a whole number", id="timeout a boolean"),
        pytest.param({"priority": "high"}, "'priority' of the request must be a whole number", id="priority a string"),
        pytest.param({"binary_data_output": 1}, "'binary_data_output' of the request must be true or false", id="binary a number"),
    ],
)
def test_value_that_a_request_parameter_cannot_have_is_refused(parameters: Any, message: str) -> None:
    with pytest.raises(MalformedBody, match=message):
        request_options(parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param({"classification": 0}, "'classification' of Output 'y' must be 1 or more", id="no classes"),
        pytest.param({"classification": "2"}, "'classification' of Output 'y' must be a whole number", id="classes a string"),
        pytest.param({"binary_data": "yes"}, "'binary_data' of Output 'y' must be true or false", id="binary a string"),
        pytest.param({"shared_memory_region": "r"}, "Output 'y' is to be in shared memory", id="shared memory"),
    ],
)
def test_value_that_an_output_parameter_cannot_have_is_refused(parameters: Any, message: str) -> None:
    with pytest.raises(MalformedBody, match=message):
        output_options(parameters, "Output 'y'")
