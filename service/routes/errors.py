"""Every error, whoever raised it, leaves as `{"error": <message>, "code": <kind>, "request_id": <id>}` with its status."""

import logging
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, Send

from service.errors import AxonError, shown
from service.request_context import current_request_id

logger = logging.getLogger("axon.http")


def handlers() -> ExceptionHandlersMap:
    """Return the exception handlers of the application."""
    return {AxonError: _axon_error, HTTPException: _framework_error, Exception: _bug}


def error_body(message: str, code: str) -> dict[str, str]:
    """Return the body of an error. Clients of the protocols read `error`; the rest is for people and their logs."""
    request_id = current_request_id()
    return {"error": message, "code": code} | ({} if request_id is None else {"request_id": request_id})


async def refuse(send: Send, error: AxonError) -> None:
    """Send an error, outside of the framework that has a handler for it."""
    body = msgspec.json.encode(error_body(str(error), error.code))
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _axon_error(request: Request[Any, Any, Any], error: AxonError) -> Response[dict[str, str]]:
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s %s: %s", request.method, _path(request), error)
    return Response(error_body(str(error), error.code), status_code=error.status, headers=error.headers)


def _framework_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, str]]:
    """Litestar's own errors: no route, wrong method, a host header that is none."""
    status = HTTPStatus(error.status_code)
    where = f"{request.method} {_path(request)}"
    message = {
        HTTPStatus.NOT_FOUND: f"There is nothing at {_path(request)}. See /openapi.json for what there is.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{where} is not allowed. Use {(error.headers or {}).get('allow', 'another method')}.",
    }.get(status, f"{where}: {error.detail}")
    code = status.phrase.lower().replace(" ", "_")
    return Response(error_body(message, code), status_code=status, headers=error.headers)


def _bug(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    logger.error("%s %s failed", request.method, _path(request), exc_info=error)
    message = "The server made a mistake while it handled this request; its log says what happened."
    return Response(error_body(message, "internal"), status_code=500)


def _path(request: Request[Any, Any, Any]) -> str:
    """Return the path as it was sent, which a mount hides, cut to a line."""
    return shown(request.scope.get("raw_path", b"").decode("latin-1"))
