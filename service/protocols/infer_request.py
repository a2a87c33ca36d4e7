"""A request of the Open Inference Protocol, in whichever form it came: JSON, binary tensors, gRPC."""

from collections.abc import Sized
from typing import Any, Final

import msgspec
import numpy as np

from service.errors import MalformedBody, shown
from service.protocols.parameters import PLAIN_REQUEST, OutputOptions, Parameters, RequestOptions
from service.repository.datatypes import DATATYPES, Datatype

Array = np.ndarray[Any, Any]

_MOST_TENSORS: Final = 4096
_DATATYPES: Final[dict[str, Datatype]] = {datatype: datatype for datatype in DATATYPES}


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that the client asks for by name, and the form in which it wants it."""

    name: str
    options: OutputOptions


class InferRequest(msgspec.Struct, frozen=True):
    """A decoded request: tensors by input name, those of them with missing values, and the outputs to give (none means all)."""

    inputs: dict[str, Array]
    missing: frozenset[str] = frozenset()
    outputs: tuple[RequestedOutput, ...] = ()
    id: str | None = None
    parameters: Parameters = {}
    options: RequestOptions = PLAIN_REQUEST

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs to give; none means all."""
        return tuple(output.name for output in self.outputs)


def refuse_many(tensors: Sized, what: str) -> None:
    """Raise MalformedBody for more tensors than any model has: each takes time and a kilobyte before its name proves unknown."""
    if len(tensors) > _MOST_TENSORS:
        raise MalformedBody(f"The request has {len(tensors)} {what}; a request may have up to {_MOST_TENSORS}.")


def datatype_of(value: object, where: str) -> Datatype:
    """Return the datatype that a tensor, which errors name as `where`, says it has. Raises MalformedBody."""
    datatype = _DATATYPES.get(value) if isinstance(value, str) else None
    if datatype is not None:
        return datatype
    given = f"'{shown(value)}'" if isinstance(value, str) else "that is missing or no string"
    raise MalformedBody(f"{where} has datatype {given}; expected one of {', '.join(DATATYPES)}.")
