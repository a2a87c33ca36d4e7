"""Every error, whoever raised it, leaves as `{"error": <message>, "code": <kind>, "request_id": <id>}` with its status."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, HTTPScope, Send

from service.errors import AxonError, shown
from service.request_context import current_request_id

logger = logging.getLogger("axon.http")
_BUG = "The server made a mistake while it handled this request; its log says what happened."


def handlers() -> ExceptionHandlersMap:
    """Return the exception handlers of the application."""
    return {AxonError: _axon_error, HTTPException: _framework_error, Exception: _bug}


def error_body(message: str, code: str) -> dict[str, str]:
    """Return the body of an error. Clients of the protocols read `error`; the rest is for people and their logs."""
    request_id = current_request_id()
    return {"error": message, "code": code} | ({} if request_id is None else {"request_id": request_id})


async def refuse(send: Send, error: AxonError) -> None:
    """Send an error, outside of the framework that has a handler for it."""
    await _send(send, error.status, error_body(str(error), error.code), error.headers)


async def answer(scope: HTTPScope, send: Send, error: Exception) -> None:
    """Send what the handlers of the framework would, for a call that it does not see."""
    if isinstance(error, AxonError):
        _log_failure(scope, error)
        await refuse(send, error)
    else:
        _log_bug(scope, error)
        await _send(send, HTTPStatus.INTERNAL_SERVER_ERROR, error_body(_BUG, "internal"), {})


async def _send(send: Send, status: int, content: dict[str, str], extra: Mapping[str, str]) -> None:
    body = msgspec.json.encode(content)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **extra}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _axon_error(request: Request[Any, Any, Any], error: AxonError) -> Response[dict[str, str]]:
    _log_failure(request.scope, error)
    return Response(error_body(str(error), error.code), status_code=error.status, headers=error.headers)


def _framework_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, str]]:
    """Litestar's own errors: no route, wrong method, a host header that is none."""
    status = HTTPStatus(error.status_code)
    path = _path(request.scope)
    where = f"{request.method} {path}"
    message = {
        HTTPStatus.NOT_FOUND: f"There is nothing at {path}. See /openapi.json for what there is.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{where} is not allowed. Use {(error.headers or {}).get('allow', 'another method')}.",
    }.get(status, f"{where}: {error.detail}")
    code = status.phrase.lower().replace(" ", "_")
    return Response(error_body(message, code), status_code=status, headers=error.headers)


def _bug(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    _log_bug(request.scope, error)
    return Response(error_body(_BUG, "internal"), status_code=500)


def _log_failure(scope: HTTPScope, error: AxonError) -> None:
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s %s: %s", scope["method"], _path(scope), error, extra={"facts": error.facts})


def _log_bug(scope: HTTPScope, error: Exception) -> None:
    logger.error("%s %s failed", scope["method"], _path(scope), exc_info=error)


def _path(scope: HTTPScope) -> str:
    """Return the path as it was sent, cut to a line."""
    return shown(scope.get("raw_path", b"").decode("latin-1"))
