"""uvicorn's HTTP/1.1 protocol with the manners that a server on an open port needs."""

import re
from collections import deque
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_SIZE: Final = 64 * 1024  # bytes of request line and headers
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: 86\r\n\r\n"
    b'{"error":"The request line and headers are larger than 65536 bytes. Send less of them"}'
)
_UPGRADE: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class HttpProtocol(HttpToolsProtocol):
    """Bounds the head of a request, ignores an offered upgrade, and forgets the pipelined requests of a client that left."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are
        self._in_head = False
        self._in_body = False
        self._head_size = 0
        self._unanswered: deque[RequestResponseCycle] = deque()

    def data_received(self, data: bytes) -> None:
        """Parse what came. A head that grows beyond its bound ends the connection."""
        super().data_received(data if self._in_body else _without_upgrade(data))
        self._head_size = self._head_size + len(data) if self._in_head else 0
        if self._head_size > MAX_HEAD_SIZE and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the head is over."""
        self._in_head, self._in_body = False, True
        super().on_headers_complete()
        self._unanswered.append(self.cycle)

    def on_message_complete(self) -> None:
        """Note that the body is over."""
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note that the oldest request is answered."""
        self._unanswered.popleft()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of the client that it has left, also those that were sent ahead; uvicorn tells the last one."""
        self.pipeline.clear()
        for cycle in self._unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)


def _without_upgrade(data: bytes) -> bytes:
    """Rename an Upgrade header, by which the parser would take the body for another protocol.

    RFC 9110 7.8: a server may ignore an Upgrade. Some HTTP clients offer HTTP/2 by one in every request.
    """
    end = data.find(b"\r\n\r\n")
    found = _UPGRADE.search(data, 0, end if end >= 0 else len(data))
    return data if found is None else data[: found.start()] + b"\r\nx-ignored-upgrade:" + data[found.end() :]
