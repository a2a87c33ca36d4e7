"""Arrays of other formats into the datatype that an input has, with nothing lost on the way but decimal places of floats."""

from typing import Any

import numpy as np

from service.errors import SignatureMismatch, shown
from service.repository.datatypes import Datatype, to_numpy
from service.repository.signature import TensorSpec

Array = np.ndarray[Any, Any]


def cast(array: Array, datatype: Datatype, where: str) -> Array:
    """Return the array in the datatype of an input. Raises SignatureMismatch, which names the input and the place.

    Numbers become other numbers if these can hold them: no fraction in an integer, nothing out of range. Strings stay strings.
    """
    dtype: np.dtype[Any] = to_numpy(datatype)
    kind = array.dtype.kind
    if dtype == array.dtype and kind != "O":
        return array
    if dtype.kind == "O" and kind in "OSU":
        return _text(array, where)
    if dtype.kind in "iuf" and kind in "iuf":
        return _number(array, dtype, datatype, where)
    raise SignatureMismatch(f"{where} holds {_NAMES.get(kind, 'values of an unknown kind')}; the model takes {datatype}.")


def with_batch_axis(array: Array, spec: TensorSpec) -> Array:
    """Return one row as a batch of one, if that is what the input lacks."""
    lacks = array.ndim == len(spec.shape) - 1 and spec.shape[0] in (-1, 1)
    return array[np.newaxis] if lacks else array


def _number(array: Array, dtype: np.dtype[Any], datatype: Datatype, where: str) -> Array:
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            fitted: Array = array.astype(dtype)
        bad = np.isinf(fitted) & np.isfinite(array)
    else:
        limits = np.iinfo(dtype)
        if array.dtype.kind == "f":
            array = array.astype(np.float64)
            # The largest integers of 64 bits are no floats: their neighbour above is the first that does not fit.
            bad = ~((array >= float(limits.min)) & (array < float(limits.max) + (1 if dtype.itemsize < 8 else 0)))  # noqa: PLR2004
            bad |= array != np.rint(array)
        else:
            bad = _outside(array, limits)
        fitted = np.where(bad, 0, array).astype(dtype)
    if bad.any():
        place = np.unravel_index(int(np.argmax(bad)), array.shape)
        raise SignatureMismatch(f"{where} holds {array[place]} at {[int(index) for index in place]}, which {datatype} cannot hold.")
    return fitted


def _outside(array: Array, limits: np.iinfo[Any]) -> Array:
    own = np.iinfo(array.dtype)
    below = array < limits.min if own.min < limits.min else np.zeros(array.shape, np.bool_)
    above = array > limits.max if own.max > limits.max else np.zeros(array.shape, np.bool_)
    outside: Array = below | above
    return outside


def _text(array: Array, where: str) -> Array:
    try:
        values = [value.decode("utf-8") if isinstance(value, bytes) else value for value in array.reshape(-1).tolist()]
        "".join(values).encode("utf-8")  # numpy's strings may hold half of a surrogate pair, which is no text
    except (UnicodeError, TypeError) as error:
        raise SignatureMismatch(f"{where} holds a string that is no UTF-8 text: {shown(str(error))}.") from error
    text = np.empty(array.size, dtype=object)
    text[:] = values
    return text.reshape(array.shape)


_NAMES = {"b": "booleans", "i": "integers", "u": "integers", "f": "floats", "U": "strings", "S": "strings", "O": "strings"}
