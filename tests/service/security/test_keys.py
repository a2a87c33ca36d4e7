"""What a key is, and how one is presented."""

import base64

import pytest

from service.security.keys import PREFIX, digest, new_key, presented


def test_key_has_256_bits_behind_its_prefix_and_is_made_anew() -> None:
    key = new_key()

    assert key.startswith(PREFIX)
    assert len(base64.urlsafe_b64decode(key.removeprefix(PREFIX) + "=")) * 8 == 256
    assert len({new_key() for _ in range(100)}) == 100


def test_hash_of_a_key_is_the_sha256_that_others_compute() -> None:
    assert digest(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        pytest.param([], None, id="none"),
        pytest.param([(b"authorization", b"Bearer k")], b"k", id="bearer"),
        pytest.param([(b"authorization", b"bearer  k ")], b"k", id="a scheme has no case, blanks do not count"),
        pytest.param([(b"x-api-key", b"k")], b"k", id="x-api-key"),
        pytest.param([(b"x-api-key", b"x"), (b"authorization", b"Bearer b")], b"b", id="bearer ranks first"),
        pytest.param([(b"authorization", b"Basic abc"), (b"x-api-key", b"k")], b"k", id="another scheme is a proxy's"),
        pytest.param([(b"authorization", b"Basic abc")], None, id="another scheme alone"),
        pytest.param([(b"authorization", b"Bearer ")], None, id="bearer of nothing"),
        pytest.param([(b"x-api-key", b"")], None, id="an empty key"),
        pytest.param([(b"authorization", b"axon_abc")], None, id="no scheme"),
    ],
)
def test_key_is_found_in_the_headers(headers: list[tuple[bytes, bytes]], key: bytes | None) -> None:
    assert presented(headers) == key
