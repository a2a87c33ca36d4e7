"""Shared by the protocol tests: JSON text into arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.protocols.json_tensors import parse, to_array
from service.repository.datatypes import Datatype

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="session")
def array_of() -> Callable[..., Array]:
    """Return a function that reads the JSON text of one tensor's data."""

    def read(text: str, datatype: Datatype, *shape: int) -> Array:
        body = parse(b'{"data": %s}' % text.encode())
        array, _missing = to_array(body["data"], datatype=datatype, shape=shape, where="Input 'x'")
        return array

    return read
