"""JSON with the tokens NaN, Infinity and -Infinity beside it, as TensorFlow Serving reads and writes it."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import orjson

from service.errors import MalformedBody
from service.protocols.json_tensors import from_bfloat16, parse_value

Array = np.ndarray[Any, Any]

# Python's own parser reads the tokens; while it does, which takes a second for 10 MB, no other thread of the process goes on.
_MOST_WITH_TOKENS: Final = 4 << 20  # bytes


def parse(body: bytes | bytearray) -> object:
    """Parse a body into values of simdjson or, if one of the tokens stands in it, of Python. Raises MalformedBody."""
    try:
        return parse_value(body)
    except MalformedBody:
        if b"NaN" not in body and b"Infinity" not in body:
            raise
        if len(body) > _MOST_WITH_TOKENS:
            raise MalformedBody(
                f"The body is not valid JSON. With NaN or Infinity, which are none, it may have up to {_MOST_WITH_TOKENS} bytes; "
                f"this one has {len(body)}. Send fewer rows a request, or the tensors in binary form."
            ) from None
        try:
            return json.loads(body.decode("utf-8"))
        except (ValueError, RecursionError):
            pass
        raise


def written(array: Array) -> bytes:
    """Write an array as nested lists; strings may be among its values, anything else that is no number may not."""
    if array.dtype == object:
        return orjson.dumps(array.tolist())
    if array.dtype.kind == "V":
        return written(from_bfloat16(array))
    if array.ndim == 0:
        return written(array.reshape(1))[1:-1]
    text = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    if array.dtype.kind != "f" or b"n" not in text:
        return text
    tokens = _tokens(array)
    return re.sub(rb"null", lambda _match: next(tokens), text)  # orjson's word for all of them


def _tokens(array: Array) -> Iterator[bytes]:
    for value in array[~np.isfinite(array)].tolist():
        yield b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity"  # noqa: PLR0124 -- NaN is no equal of itself
