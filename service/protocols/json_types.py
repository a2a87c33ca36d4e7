"""The values of a datatype in JSON as a type for msgspec, which takes nothing that simdjson would not take."""

from typing import Annotated, Any, Final

import numpy as np
from msgspec import Meta

from service.repository.datatypes import Datatype, to_numpy

# Within these a number is one for simdjson too, which takes no integer of more than 64 bits; beyond them few ever are.
_MOST: Final[dict[str, float]] = {"FP16": 65504.0, "FP32": 2.0**63, "FP64": 2.0**63}


def scalar_type(datatype: Datatype) -> Any:  # noqa: ANN401 -- a type
    """Return the type of a single value."""
    dtype: np.dtype[Any] = to_numpy(datatype)
    if dtype.kind in "Ob":
        return str if dtype.kind == "O" else bool
    if dtype.kind == "f":
        return Annotated[float, Meta(gt=-_MOST[datatype], lt=_MOST[datatype])]
    limits = np.iinfo(dtype)
    return Annotated[int, Meta(ge=limits.min, le=limits.max if limits.max < 2**63 else None)]


def list_type(datatype: Datatype) -> Any:  # noqa: ANN401 -- a type
    """Return the type of a list of values, for numbers also of lists of them, as far as pictures have them."""
    scalar: Any = scalar_type(datatype)
    nested: Any = list[scalar]
    if datatype == "BYTES":
        return nested  # numpy would take lists of different lengths for values
    for _ in range(3):
        nested = list[scalar | nested]
    return nested
