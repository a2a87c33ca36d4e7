"""`/v2/models/...`: metadata, readiness, configuration, statistics and inference of one model."""

import re
from collections.abc import Awaitable, Callable
from typing import Final

from service.http.exchange import Exchange
from service.management import Management
from service.registry import Registry
from service.routes.answering import respond_json
from service.routes.inference import Inference
from service.routes.requests import nothing_at, require

PATH: Final = "/v2/models"
ALL_STATISTICS_PATH: Final = PATH + "/stats"
_CALL: Final = re.compile(r"/([^/]+)(?:/versions/([^/]+))?(?:/(infer|ready|config|stats))?")


class ModelRoutes:
    """The handlers below `/v2/models`."""

    def __init__(self, registry: Registry, management: Management, infer: Inference) -> None:
        self._registry = registry
        self._management = management
        self._actions: dict[str | None, tuple[str, Callable[..., Awaitable[None]]]] = {
            None: ("GET", self._metadata),
            "ready": ("GET", self._ready),
            "config": ("GET", self._config),
            "stats": ("GET", self._stats),
            "infer": ("POST", infer),
        }

    def __call__(self, exchange: Exchange, path: str) -> Awaitable[None]:
        """Find the action that the path below names."""
        match = _CALL.fullmatch(path)
        if match is None:
            return self._list(exchange, path)
        name, version, action = match.groups()
        if PATH + path == ALL_STATISTICS_PATH:
            return self._all_stats(exchange)
        method, handle = self._actions[action]
        require(exchange, method, PATH + path)
        return handle(exchange, name, version)

    async def _metadata(self, exchange: Exchange, name: str, version: str | None) -> None:
        await respond_json(exchange, self._management.metadata(name, version))

    async def _ready(self, exchange: Exchange, name: str, version: str | None) -> None:
        model = self._registry.get(name, version)
        await respond_json(exchange, {"name": model.name, "ready": True})

    async def _config(self, exchange: Exchange, name: str, version: str | None) -> None:
        await respond_json(exchange, self._management.configuration(name, version))

    async def _stats(self, exchange: Exchange, name: str, version: str | None) -> None:
        """Give the statistics of one version, or of all versions of a model that serve."""
        await respond_json(exchange, {"model_stats": self._management.statistics(name, version)})

    async def _all_stats(self, exchange: Exchange) -> None:
        require(exchange, "GET", ALL_STATISTICS_PATH)
        await respond_json(exchange, {"model_stats": self._management.all_statistics()})

    async def _list(self, exchange: Exchange, path: str) -> None:
        """`GET /v2/models`, as KServe has it: the names of the models that are ready."""
        if path:
            raise nothing_at(PATH + path)
        require(exchange, "GET", PATH)
        await respond_json(exchange, {"models": self._registry.ready_names()})
