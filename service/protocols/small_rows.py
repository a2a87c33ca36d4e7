"""Small requests of TensorFlow Serving's protocol that are as they should be, read in one go: one tensor, or named features.

As in `small_requests`, anything else is left to the other way, to which what is read here is the same.
"""

from typing import Any, Final, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from service.protocols.features import features_of
from service.protocols.json_inputs import row_size
from service.protocols.json_types import list_type, scalar_type
from service.repository.datatypes import DATATYPES, Datatype, to_numpy
from service.repository.signature import TensorSpec

Array = np.ndarray[Any, Any]


class _Request(msgspec.Struct, gc=False):
    """A `:predict`; those that are decoded have the type of their datatype's values."""

    instances: Any = UNSET
    inputs: Any = UNSET
    signature_name: Literal["serving_default", ""] | UnsetType | None = UNSET


def read(body: bytes | bytearray, spec: TensorSpec) -> tuple[Array, int | None] | None:
    """Read the values of a model's only input, and how many rows there are (None for columns). None if it is not that simple.

    Each key has a colon, and more there must not be: a key that comes twice would be read from another place.
    """
    decoder = _DECODERS.get(spec.datatype)
    if decoder is None:
        return None
    try:
        request = decoder.decode(body)
        instances, inputs = request.instances, request.inputs
        values = inputs if instances is UNSET else instances
        array: Array = np.array(values, dtype=to_numpy(spec.datatype))
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError):
        return None
    keys = 1 if request.signature_name is UNSET else 2
    if (instances is UNSET) == (inputs is UNSET) or not array.size or body.count(b":") != keys:
        return None
    if array.ndim == 1 and spec.shape[1:] == (1,):
        array = array[:, np.newaxis]
    return array, None if instances is UNSET else len(instances)


def read_named(body: bytes | bytearray, spec: TensorSpec, *, limit: int) -> tuple[Array, int] | None:
    """Read rows that have a number for each feature of a model's only input, as many as `limit` bytes have room for; else None."""
    features = features_of(spec)
    decoder = _NAMED.get(spec.datatype)
    if not features or decoder is None or len({spec.name, *features}) <= len(features):
        return None
    try:
        request = decoder.decode(body)
        rows = request.instances
        array: Array = np.array([[row[name] for name in features] for row in rows], dtype=to_numpy(spec.datatype))
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError, KeyError):
        return None
    keys = (1 if request.signature_name is UNSET else 2) + len(rows) * len(features)
    if not rows or any(len(row) != len(features) for row in rows) or body.count(b":") != keys:
        return None
    return (array, len(rows)) if len(rows) * row_size(features) <= limit else None


def _decoder(**values: Any) -> msgspec.json.Decoder[_Request]:  # noqa: ANN401 -- types
    fields = [(name, kind | UnsetType, UNSET) for name, kind in values.items()]
    made: Any = msgspec.defstruct("_AnyRequest", fields, bases=(_Request,), forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(made)


def _rows_type(datatype: Datatype) -> Any:  # noqa: ANN401 -- a type
    scalar: Any = scalar_type(datatype)
    return list[dict[str, scalar]]


_KNOWN: Final = tuple(datatype for datatype in DATATYPES if datatype not in ("BF16", "BYTES"))
_DECODERS: Final = {datatype: _decoder(instances=list_type(datatype), inputs=list_type(datatype)) for datatype in _KNOWN}
_NAMED: Final = {datatype: _decoder(instances=_rows_type(datatype)) for datatype in _KNOWN}
