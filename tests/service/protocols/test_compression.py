import gzip
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedBody, PayloadTooLarge
from service.protocols.compression import CODINGS, accepted_coding, compress, decompress

RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = RAW.compress(b"abc") + RAW.flush()


@given(st.lists(st.binary(max_size=100), max_size=3), st.sampled_from(CODINGS))
def test_what_is_compressed_is_read(parts: list[bytes], coding: str) -> None:
    assert decompress(compress(parts, coding), coding, limit=1000) == b"".join(parts)


@pytest.mark.parametrize(
    ("data", "coding"),
    [
        pytest.param(gzip.compress(b"abc"), "gzip", id="gzip"),
        pytest.param(zlib.compress(b"abc"), "deflate", id="deflate"),
        pytest.param(RAW_DEFLATE, "deflate", id="deflate without its header"),
    ],
)
def test_what_others_compressed_is_read(data: bytes, coding: str) -> None:
    assert decompress(data, coding, limit=3) == b"abc"


@pytest.mark.parametrize("coding", CODINGS)
def test_bomb_is_refused_before_it_is_large(coding: str) -> None:
    bomb = compress([bytes(50_000_000)], coding)

    assert len(bomb) < 1_000_000
    with pytest.raises(PayloadTooLarge, match="larger than 1000 bytes"):
        decompress(bomb, coding, limit=1000)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        pytest.param(lambda _: b"", "ends too early", id="empty"),
        pytest.param(lambda data: data[:-1], "ends too early", id="cut off"),
        pytest.param(lambda data: data + b"x", "followed by 1 bytes", id="something behind"),
        pytest.param(lambda data: data[:2] + b"\xff" * 30, "not in Content-Encoding", id="rubbish"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 0xFF]), "not in Content-Encoding", id="wrong checksum"),
    ],
)
def test_what_is_not_compressed_as_it_says_is_refused(spoilt: object, message: str, coding: str) -> None:
    assert callable(spoilt)
    with pytest.raises(MalformedBody, match=message):
        decompress(spoilt(compress([b"abc" * 100], coding)), coding, limit=1000)


@given(st.binary(max_size=60), st.sampled_from(CODINGS))
def test_any_bytes_are_decompressed_or_refused(data: bytes, coding: str) -> None:
    try:
        assert len(decompress(data, coding, limit=100)) <= 100
    except (MalformedBody, PayloadTooLarge) as error:
        assert str(error)  # noqa: PT017 -- either outcome is fine, any other exception is not


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("GZIP;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0, br", None),
        ("identity", None),
        ("br", None),
        ("*", None),
        ("", None),
        ("gzip;q=high", None),
        ("gzip;q=..", None),
    ],
)
def test_client_chooses_the_coding(accept_encoding: str, coding: str | None) -> None:
    assert accepted_coding(accept_encoding) == coding


@pytest.mark.parametrize(
    "accept_encoding",
    [
        pytest.param("a" * 60_000 + ";", id="a long word"),
        pytest.param(" " * 60_000, id="spaces"),
        pytest.param("gzip;" + " ;" * 30_000, id="many parameters"),
    ],
)
def test_long_wish_is_read_at_once(accept_encoding: str) -> None:
    """A header of 60 KB took the regular expression that read it before two minutes, and the whole server with it."""
    began = time.monotonic()

    assert accepted_coding(accept_encoding) is None
    assert time.monotonic() - began < 1.0
