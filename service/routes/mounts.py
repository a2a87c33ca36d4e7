"""The calls of models, in front of the framework, whose router and layers of error handling cost as much as a small model.

Every other path is the framework's. What guards the server stands before both.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from service.http.exchange import Exchange, Handler
from service.routes.errors import answer

# Is given the path below the mount, from its slash on and without one at the end; it is empty for the mount itself.
Mount = Callable[[Exchange, str], Awaitable[None]]
_SLASHES: Final = re.compile("//+")


class Mounts:
    """Calls a mount for all that lies below its path, and another handler for everything else."""

    def __init__(self, other: Handler, mounts: Mapping[str, Mount]) -> None:
        self._other = other
        self._mounts = tuple((path, path + "/", mount) for path, mount in mounts.items())

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one call. Slashes too many in its path do no harm, as they do none to the framework."""
        path = exchange.path
        if path.endswith("/") or "//" in path:
            path = _SLASHES.sub("/", "/" + path.strip("/"))
        for mounted, below, mount in self._mounts:
            if path.startswith(below) or path == mounted:
                try:
                    await mount(exchange, path[len(mounted) :])
                except Exception as error:  # noqa: BLE001 -- every error becomes an answer
                    await answer(exchange, error)
                return
        await self._other(exchange)
