"""The guard in front of every HTTP route: around all others, not there at all without API keys.

It decides by method and path before the body is read. What it does not know needs the scope `manage`, so that a new route, or a
path that the router reads in another way, is closed rather than open.
"""

import logging
from collections.abc import Awaitable
from typing import Final

from service.errors import AxonError, shown
from service.http.exchange import Exchange, Handler
from service.request_context import note_key
from service.routes import health, metrics, models, prediction, repository, tensorflow_serving
from service.routes.errors import refuse
from service.security.guard import Guard
from service.security.keys import presented
from service.security.scopes import Scope

logger = logging.getLogger("axon.security")
_READING: Final = frozenset({"GET", "HEAD"})
# Below these a POST runs a model, in each of the protocols.
_RUNNING: Final = (models.PATH + "/", tensorflow_serving.PATH + "/", prediction.PATH + "/")


class Protection:
    """Calls the handler for admitted requests, and for any request to one of `open_paths`."""

    def __init__(self, handler: Handler, guard: Guard, open_paths: frozenset[str]) -> None:
        self._handler = handler
        self._guard = guard
        self._open = open_paths

    def __call__(self, exchange: Exchange) -> Awaitable[None]:
        """Answer in its place where the guard refuses."""
        path = exchange.path.rstrip("/")
        if path in self._open:
            return self._handler(exchange)
        method = exchange.method
        needed = needed_scope(method, path)
        try:
            name = self._guard.admit(presented(exchange.headers), needed)
        except AxonError as error:
            return refuse(exchange, error)
        note_key(name)
        if needed is Scope.MANAGE:
            logger.info("API key '%s': %s %s", name, method, shown(path))
        return self._handler(exchange)


def open_paths(*, open_metrics: bool) -> frozenset[str]:
    """Return the paths that need no key: what keeps the server running asks without, and metrics may be opened."""
    return health.PROBES | {metrics.METRICS_PATH} if open_metrics else health.PROBES


def needed_scope(method: str, path: str) -> Scope:
    """Return what a key must be allowed to do for a request."""
    if path == repository.INDEX_PATH:
        return Scope.READ
    if path.startswith(repository.PATH):
        return Scope.MANAGE
    if method in _READING:
        return Scope.READ
    if method == "POST" and path.startswith(_RUNNING):
        return Scope.INFER
    return Scope.MANAGE
