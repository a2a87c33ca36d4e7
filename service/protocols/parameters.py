"""The parameters of a request and of its outputs: a few words of the protocol that change what is done.

Rules: Triton's docs/protocol/extension_parameters.md, extension_schedule_policy.md, extension_classification.md.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from service.errors import MalformedBody, shown

Parameters = Mapping[str, str | int | float | bool]

_RESERVED: Final = "triton_"
_MICROSECOND: Final = 1e-6
_MOST_PRIORITY: Final = 2**63


class RequestOptions(msgspec.Struct, frozen=True):
    """What the parameters of a request ask for: seconds until the answer is of no use, urgency (0: the model's), binary outputs."""

    timeout: float | None = None
    priority: int = 0
    binary_outputs: bool = False


class OutputOptions(msgspec.Struct, frozen=True):
    """What is asked of one output: `binary` None leaves it to the request; `classes` above 0 asks for so many best classes."""

    binary: bool | None = None
    classes: int = 0


PLAIN_REQUEST: Final = RequestOptions()
BINARY_REQUEST: Final = RequestOptions(binary_outputs=True)
_PLAIN_OUTPUT: Final = OutputOptions()


def request_options(parameters: Parameters) -> RequestOptions:
    """Read the parameters of a request. Raises MalformedBody for a reserved one, or a value that a known one cannot have."""
    if not parameters:
        return PLAIN_REQUEST
    if len(parameters) == 1 and parameters.get("binary_data_output") is True:
        return BINARY_REQUEST
    for key in parameters:
        if key.startswith(_RESERVED):
            raise MalformedBody(f"The parameter '{shown(key)}' is reserved: no name of a parameter may start with '{_RESERVED}'.")
    microseconds = _whole(parameters, "timeout", "the request")
    return RequestOptions(
        timeout=microseconds * _MICROSECOND if microseconds else None,  # 0 means none, as in Triton
        priority=_whole(parameters, "priority", "the request"),
        binary_outputs=bool(_flag(parameters, "binary_data_output", "the request")),
    )


def output_options(parameters: Parameters, where: str) -> OutputOptions:
    """Read the parameters of a requested output, which errors name as `where`. Raises MalformedBody."""
    if not parameters:
        return _PLAIN_OUTPUT
    refuse_shared_memory(parameters, where)
    classes = _whole(parameters, "classification", where)
    if "classification" in parameters and not classes:
        raise MalformedBody(f"The parameter 'classification' of {where} must be 1 or more: how many classes to give.")
    return OutputOptions(binary=_flag(parameters, "binary_data", where), classes=classes)


def refuse_shared_memory(parameters: Parameters, where: str) -> None:
    """Raise MalformedBody for a tensor that is said to lie in shared memory."""
    if "shared_memory_region" in parameters:
        raise MalformedBody(f"{where} is to be in shared memory, which this server does not use. Send the data in the body.")


def _whole(parameters: Parameters, key: str, where: str) -> int:
    value = parameters.get(key, 0)
    if type(value) is not int or not 0 <= value < _MOST_PRIORITY:
        raise MalformedBody(f"The parameter '{key}' of {where} must be a whole number of 0 or more.")
    return value


def _flag(parameters: Parameters, key: str, where: str) -> bool | None:
    value = parameters.get(key)
    if value is not None and not isinstance(value, bool):
        raise MalformedBody(f"The parameter '{key}' of {where} must be true or false.")
    return value
