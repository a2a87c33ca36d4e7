"""Each error of the service has a status of gRPC that says the same."""

from collections.abc import Iterator

import grpc
import pytest

from service import errors
from service.errors import AxonError, Unavailable
from service.grpc import status


def family(kind: type[AxonError]) -> Iterator[type[AxonError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


@pytest.mark.parametrize("kind", [kind for kind in family(AxonError) if kind.__module__ == errors.__name__])
def test_every_error_has_a_code(kind: type[AxonError]) -> None:
    assert kind.status in status.CODES


@pytest.mark.parametrize(
    ("http", "code"),
    [
        (400, grpc.StatusCode.INVALID_ARGUMENT),
        (401, grpc.StatusCode.UNAUTHENTICATED),
        (403, grpc.StatusCode.PERMISSION_DENIED),
        (404, grpc.StatusCode.NOT_FOUND),
        (413, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (500, grpc.StatusCode.INTERNAL),
        (503, grpc.StatusCode.UNAVAILABLE),
        (504, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_codes_say_what_the_http_status_says(http: int, code: grpc.StatusCode) -> None:
    assert status.CODES[http] is code


def test_unavailable_says_when_to_try_again_in_both_ways() -> None:
    trailers = dict(status.trailers_of(Unavailable("Not now.", retry_after=3)))

    assert trailers == {"error-code": "unavailable", "grpc-retry-pushback-ms": "3000", "retry-after": "3"}


def test_mistake_of_the_server_is_not_shown_to_the_client() -> None:
    assert status.text_of(KeyError("secret")) == status.BUG


def test_long_message_is_cut_to_what_clients_read() -> None:
    assert len(status.text_of(AxonError("ä" * 10_000))) < 1100
