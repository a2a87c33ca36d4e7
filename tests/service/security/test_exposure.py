"""What an address means."""

import pytest

from service.security.exposure import is_loopback, may_be_managed, warnings


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),  # noqa: S104 -- nothing listens
        ("::", False),
        ("10.0.0.1", False),
        ("models.example", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback_is_only_what_surely_is(host: str, loopback: bool) -> None:  # noqa: FBT001
    assert is_loopback(host) is loopback
    assert may_be_managed(host, keys=False) is loopback
    assert may_be_managed(host, keys=True)


@pytest.mark.parametrize(
    ("host", "guards", "words"),
    [
        pytest.param("127.0.0.1", set(), None, id="loopback"),
        pytest.param("10.0.0.1", set(), "EVERYONE", id="open"),
        pytest.param("10.0.0.1", {"tls"}, "EVERYONE", id="encrypted, but open"),
        pytest.param("10.0.0.1", {"keys"}, "in the clear", id="keys in the clear"),
        pytest.param("10.0.0.1", {"keys", "tls"}, None, id="keys and TLS"),
        pytest.param("10.0.0.1", {"client_certificates", "tls"}, None, id="client certificates"),
    ],
)
def test_what_stands_open_is_said(host: str, guards: set[str], words: str | None) -> None:
    options = {name: name in guards for name in ("keys", "tls", "client_certificates")}
    said = list(warnings(host, **options))

    assert len(said) == (words is not None)
    assert all(words in line for line in said if words)
