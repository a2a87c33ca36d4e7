"""Every error, whoever raised it, leaves as `{"error": <message>, "code": <kind>, "request_id": <id>}` with its status."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from service.errors import AxonError, MethodNotAllowed, allow, shown
from service.http.exchange import Exchange
from service.request_context import current_request_id
from service.routes.requests import nothing_at

logger = logging.getLogger("axon.http")
_JSON_TYPE: Final = (b"content-type", b"application/json")
_BUG = "The server made a mistake while it handled this request; its log says what happened."


def handlers() -> ExceptionHandlersMap:
    """Return the exception handlers of the application."""
    return {AxonError: _axon_error, HTTPException: _framework_error, Exception: _bug}


def complete_allow(response: Response[Any]) -> Response[Any]:
    """Let the framework's answer to OPTIONS name the methods that every answer names."""
    if "Allow" in response.headers:
        response.headers["Allow"] = allow(response.headers["Allow"])
    return response


def error_body(message: str, code: str) -> dict[str, str]:
    """Return the body of an error. Clients of the protocols read `error`; the rest is for people and their logs."""
    request_id = current_request_id()
    return {"error": message, "code": code} | ({} if request_id is None else {"request_id": request_id})


async def refuse(exchange: Exchange, error: AxonError) -> None:
    """Send an error, outside of the framework that has a handler for it."""
    await _respond(exchange, error.status, error_body(str(error), error.code), _headers(error))


async def answer(exchange: Exchange, error: Exception) -> None:
    """Send what the framework would with these handlers, for a call that it does not see."""
    if isinstance(error, MethodNotAllowed) and exchange.method == "OPTIONS":
        await exchange.respond(HTTPStatus.NO_CONTENT, _headers(error), [])
    elif isinstance(error, AxonError):
        _log_failure(exchange.method, exchange.raw_path, error)
        await refuse(exchange, error)
    else:
        _log_bug(exchange.method, exchange.raw_path, error)
        await _respond(exchange, HTTPStatus.INTERNAL_SERVER_ERROR, error_body(_BUG, "internal"))


def _headers(error: AxonError) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in error.headers.items()]


async def _respond(exchange: Exchange, status: int, content: dict[str, str], headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    await exchange.respond(status, [_JSON_TYPE, *headers], [msgspec.json.encode(content)])


def _axon_error(request: Request[Any, Any, Any], error: AxonError) -> Response[dict[str, str]]:
    _log_failure(request.method, _raw_path(request), error)
    return Response(error_body(str(error), error.code), status_code=error.status, headers=error.headers)


def _framework_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, str]]:
    """Litestar's own errors: no route, wrong method, a host header that is none."""
    status = HTTPStatus(error.status_code)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = sorted({*(error.headers or {})["allow"].split(", ")} - {"HEAD", "OPTIONS"})
        return _axon_error(request, MethodNotAllowed(request.method, _raw_path(request).decode("latin-1"), ", ".join(allowed)))
    if status == HTTPStatus.NOT_FOUND:
        return _axon_error(request, nothing_at(_raw_path(request).decode("latin-1")))
    code = status.phrase.lower().replace(" ", "_")
    message = f"{request.method} {_path(_raw_path(request))}: {error.detail}"
    return Response(error_body(message, code), status_code=status, headers=error.headers)


def _bug(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    _log_bug(request.method, _raw_path(request), error)
    return Response(error_body(_BUG, "internal"), status_code=500)


def _log_failure(method: str, raw_path: bytes, error: AxonError) -> None:
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s %s: %s", method, _path(raw_path), error, extra={"facts": error.facts})


def _log_bug(method: str, raw_path: bytes, error: Exception) -> None:
    logger.error("%s %s failed", method, _path(raw_path), exc_info=error)


def _raw_path(request: Request[Any, Any, Any]) -> bytes:
    return request.scope.get("raw_path") or b""


def _path(raw_path: bytes) -> str:
    """Return the path as it was sent, cut to a line."""
    return shown(raw_path.decode("latin-1"))
