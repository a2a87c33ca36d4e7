"""A request and the response to it, as what answers it sees it, whatever server it came through."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

Headers = Sequence[tuple[bytes, bytes]]


class Exchange(ABC):
    """One request, and the one response that it gets.

    `path` is decoded, `raw_path` and `query` are as they were sent; names of `headers` are in lower case. Whatever the response is,
    it carries the headers that were `added` before. Once there is one, it has a `status`, and a body of `size` bytes; a client that
    left before it has the status that nginx gives it.

    What a HEAD asks for is what a GET does: that is its `action`. Its response is that of the GET, with a body that is not sent.

    An exchange answers an application that speaks ASGI by `scope`, `receive` and `send`, and what is ours by less.
    """

    __slots__ = ("_by_name", "action", "added", "headers", "method", "path", "query", "raw_path", "size", "status")

    def __init__(self, method: str, path: str, raw_path: bytes, query: bytes, headers: Headers) -> None:
        self.method = method
        self.action = "GET" if method == "HEAD" else method
        self.path = path
        self.raw_path = raw_path
        self.query = query
        self.headers = headers
        self._by_name = dict(reversed(headers))
        self.added: list[tuple[bytes, bytes]] = []
        self.status = 499
        self.size = 0

    def header(self, name: bytes) -> str | None:
        """Return the value of the first header of this name, given in lower case; None if there is none."""
        value = self._by_name.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    @abstractmethod
    def port(self) -> int | None:
        """The port that the request came to, if it came to one."""

    @property
    @abstractmethod
    def scope(self) -> dict[str, Any]:
        """The request as ASGI has it, of which whoever asks may change its own."""

    @abstractmethod
    def whole_body(self) -> bytes | bytearray | None:
        """Give the body if all of it is here; else None, and `receive` gives it. Either is asked for it once."""

    @abstractmethod
    async def receive(self) -> Any:  # noqa: ANN401 -- ASGI's events, which each framework has its own types for
        """Give the body, in one piece or several; then wait for the client to leave."""

    @abstractmethod
    async def send(self, message: Any) -> None:  # noqa: ANN401 -- as in `receive`
        """Take the response from an ASGI application."""

    @abstractmethod
    async def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], parts: Sequence[bytes | memoryview]) -> None:
        """Send a response whose body is these parts. Its length is said for the caller; names and values are what may be sent."""

    @abstractmethod
    def cancel_if_left(self, *, wanted: bool) -> None:
        """Have the task of this exchange cancelled if the client leaves, or no longer."""

    @abstractmethod
    def was_left(self) -> bool:
        """Whether it was cancelled for this reason; the cancellation then counts as taken care of."""


Handler = Callable[[Exchange], Awaitable[None]]
