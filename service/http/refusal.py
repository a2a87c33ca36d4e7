"""The answer to what cannot be led to the application: no HTTP, too large a head, too slow a client, too many connections."""

import json
from http import HTTPStatus

from service.request_context import made_request_id


def refusal(status: HTTPStatus, message: str) -> bytes:
    """Return a whole response that says why, in the form of every error. No other follows it on its connection."""
    request_id = made_request_id()
    code = status.phrase.lower().replace(" ", "_")
    content = json.dumps({"error": message, "code": code, "request_id": request_id}).encode()
    head = [f"HTTP/1.1 {status.value} {status.phrase}", "content-type: application/json", f"content-length: {len(content)}"]
    head.append(f"x-request-id: {request_id}")
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        head.append("retry-after: 1")
    return "\r\n".join([*head, "connection: close", "", ""]).encode() + content
