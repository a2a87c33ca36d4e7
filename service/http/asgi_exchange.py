"""An exchange on somebody else's server, over ASGI: the test client of a framework, for one."""

from collections.abc import Iterable, Sequence
from typing import Any

from litestar.types import HTTPScope, Receive, Send

from service.http.exchange import Exchange


class AsgiExchange(Exchange):
    """Over ASGI nobody tells that a client has left, so nothing is cancelled for it."""

    __slots__ = ("_receive", "_scope", "_send")

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = tuple(scope["headers"])
        raw_path = scope.get("raw_path") or scope["path"].encode()
        super().__init__(scope["method"], scope["path"], raw_path, scope["query_string"], headers)
        self._scope = scope
        self._receive = receive
        self._send = send

    @property
    def port(self) -> int | None:
        """The port, as the server says."""
        return (self._scope.get("server") or ("", None))[1]

    @property
    def scope(self) -> dict[str, Any]:
        """The scope that came from the server, which leaves the body of what answers a HEAD away."""
        return {**self._scope, "method": self.action}

    def whole_body(self) -> None:
        """Leave it to `receive`: ASGI does not say whether more is to come before it has come."""

    async def receive(self) -> Any:  # noqa: ANN401 -- as in the base
        """Give what the server gives."""
        return await self._receive()

    async def send(self, message: Any) -> None:  # noqa: ANN401 -- as in the base
        """Pass the response on, with what was added."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self.added]}
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)

    async def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], parts: Sequence[bytes | memoryview]) -> None:
        """Pass it on in ASGI's two kinds of messages."""
        body = b"".join(parts)
        fields = [(b"content-length", b"%d" % len(body)), *headers]
        await self.send({"type": "http.response.start", "status": status, "headers": fields})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def cancel_if_left(self, *, wanted: bool) -> None:
        """Do nothing."""

    def was_left(self) -> bool:
        """Never."""
        return False
