import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.protocols.long_integers import as_floats

LONG = 10**20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("[18446744073709551616]", "[18446744073709551616.0]", id="first beyond unsigned"),
        pytest.param("[-9223372036854775809,1]", "[-9223372036854775809.0,1]", id="first beyond signed"),
        pytest.param('{"a":100000000000000000000}', '{"a":100000000000000000000.0}', id="member"),
        pytest.param(
            r'["\"100000000000000000000", 100000000000000000000]',
            r'["\"100000000000000000000", 100000000000000000000.0]',
            id="beside text",
        ),
    ],
)
def test_integer_that_is_too_long_becomes_a_float(text: str, expected: str) -> None:
    assert as_floats(text.encode()) == expected.encode()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[18446744073709551615, -9223372036854775808, 9223372036854775808]", id="extremes of 64 bits"),
        pytest.param("[0.10000000000000000000055, 1e0000000000000000000001, 1e-0000000000000000000001]", id="parts of floats"),
        pytest.param("[100000000000000000000.5, 100000000000000000000e2]", id="floats"),
        pytest.param(r'["100000000000000000000", "\\", "\"100000000000000000000"]', id="text"),
        pytest.param(r'["100000000000000000000\"', id="text without an end"),
    ],
)
def test_what_is_no_such_integer_stays(text: str) -> None:
    assert as_floats(text.encode()) is None


@given(st.recursive(st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists))
def test_any_json_keeps_its_values(value: object) -> None:
    text = json.dumps(value)
    readable = as_floats(text.encode())

    assert json.loads(readable or text) == json.loads(
        text, parse_int=lambda digits: float(digits) if too_long(int(digits)) else int(digits)
    )


def too_long(number: int) -> bool:
    return not -(2**63) <= number < 2**64


@pytest.mark.parametrize("part", ['\\"', '"\\', "1", "1234567890123456789.", "a", '"'], ids=repr)
def test_any_large_text_is_looked_through_once(part: str) -> None:
    """Ten times the time that it takes is allowed, a thousandth of what it would take to begin anew at each byte."""
    body = ('["' + part * (1 << 20) + str(LONG))[: 1 << 20].encode()
    began = time.perf_counter()

    as_floats(body)

    assert time.perf_counter() - began < 2


def test_body_that_is_too_large_is_left_alone() -> None:
    assert as_floats(b"[%d,%s]" % (LONG, b"1," * (2 << 20))) is None
