"""Integers in JSON that do not fit into 64 bits, as the floats that they are.

JavaScript and Go write every float below 1e21 without an exponent: 1e20 is `100000000000000000000`. simdjson refuses the whole
body for it.
"""

import re
from typing import Final

# Bytes; no other thread of the process goes on while they are looked through: 0.1 s for numbers, 1.3 s for empty strings alone.
_MOST: Final = 4 << 20
_DIGITS: Final = re.compile(rb"[0-9]{19}")
# A string, closed or not, so that no byte is looked at twice; or an integer that is no part of another number.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|(?<![0-9.eE+-])-?[0-9]{19,}+(?![.eE])', re.DOTALL)
_SIGNED: Final = -(2**63)
_UNSIGNED: Final = 2**64
_SURE: Final = 21  # digits, with a sign, that no integer of 64 bits has


def as_floats(body: bytes | bytearray) -> bytes | None:
    """Return a body with `.0` behind the integers that are too long.

    None if there are none, or if the body is too large to be looked through.
    """
    if len(body) > _MOST or _DIGITS.search(body) is None:
        return None
    text = _TOKEN.sub(_as_float, body)
    return text if len(text) > len(body) else None


def _as_float(token: re.Match[bytes]) -> bytes:
    text = token.group()
    return text if text.startswith(b'"') or _fits(text) else text + b".0"


def _fits(integer: bytes) -> bool:
    return len(integer) <= _SURE and _SIGNED <= int(integer) < _UNSIGNED
