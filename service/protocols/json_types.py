"""The values of a datatype in JSON as a type for msgspec, which takes nothing that simdjson would not take."""

from typing import Annotated, Any, Final

import numpy as np
from msgspec import Meta

from service.repository.datatypes import Datatype, to_numpy

# Within these a number is one for simdjson too, which takes no integer of more than 64 bits; beyond them few ever are.
_MOST: Final[dict[str, float]] = {"FP16": 65504.0, "FP32": 2.0**63, "FP64": 2.0**63}


def list_type(datatype: Datatype) -> Any:  # noqa: ANN401 -- a type
    """Return the type of a datatype's values in JSON: a list, and for numbers lists in it, as far as pictures have them."""
    dtype: np.dtype[Any] = to_numpy(datatype)
    if dtype.kind == "O":
        return list[str]  # numpy would take lists of different lengths for values
    if dtype.kind == "b":
        scalar: Any = bool
    elif dtype.kind == "f":
        scalar = Annotated[float, Meta(gt=-_MOST[datatype], lt=_MOST[datatype])]
    else:
        limits = np.iinfo(dtype)
        scalar = Annotated[int, Meta(ge=limits.min, le=limits.max if limits.max < 2**63 else None)]
    nested: Any = list[scalar]
    for _ in range(3):
        nested = list[scalar | nested]
    return nested
