"""Every error, whoever raised it, leaves as a status of gRPC with the message that HTTP gives in its body."""

import logging
from typing import Any, Final, NoReturn

import grpc

from service.errors import AxonError

logger = logging.getLogger("axon.grpc")

Context = Any  # grpc.aio.ServicerContext, which has no types
Metadata = tuple[tuple[str, str], ...]

BUG: Final = "The server made a mistake while it handled this request; its log says what happened."
_MOST_CHARACTERS: Final = 1000  # of a message: clients refuse trailers of more than 8 KiB, and a character can take 12 bytes there

CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    406: grpc.StatusCode.INVALID_ARGUMENT,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    421: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(error: AxonError) -> grpc.StatusCode:
    """Return the status code that says the same as an error's HTTP status."""
    return CODES[error.status]


def text_of(error: Exception) -> str:
    """Return what a client may read of an error, and log what only the operator can mend."""
    if not isinstance(error, AxonError):
        logger.error("a call failed", exc_info=error)
        return BUG
    if code_of(error) is grpc.StatusCode.INTERNAL:
        logger.error("%s", error, extra={"facts": error.facts})
    text = str(error)
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "..."


def trailers_of(error: Exception) -> Metadata:
    """Return the error's kind, and when to try again: in gRPC's own way, which its retry policies follow, and in HTTP's."""
    if not isinstance(error, AxonError):
        return (("error-code", AxonError.code),)
    seconds = error.headers.get("retry-after")
    again = () if seconds is None else (("grpc-retry-pushback-ms", f"{seconds}000"),)
    return (("error-code", error.code), *again, *error.headers.items())


async def abort(context: Context, error: Exception, trailers: Metadata = ()) -> NoReturn:
    """End a call with the status of an error."""
    code = code_of(error) if isinstance(error, AxonError) else grpc.StatusCode.INTERNAL
    await context.abort(code, text_of(error), (*trailers, *trailers_of(error)))
    raise AssertionError("abort raises")
