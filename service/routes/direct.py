"""Inference in front of the framework, whose router and layers of error handling cost as much as a small model.

It takes the one call that counts, written as clients write it; every other call, and every other spelling of this one, is the
framework's. What guards the server stands before both.
"""

import re
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from service.routes.errors import answer
from service.routes.inference import Inference

_PATH: Final = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


class Direct:
    """Calls `infer` for a POST to the path of a model, and the application for everything else."""

    def __init__(self, app: ASGIApp, infer: Inference) -> None:
        self._app = app
        self._infer = infer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] != ScopeType.HTTP or scope["method"] != "POST" or (match := _PATH.fullmatch(scope["path"])) is None:
            await self._app(scope, receive, send)
            return
        name, version = match.groups()
        try:
            await self._infer(scope, receive, send, name, version)
        except Exception as error:  # noqa: BLE001 -- every error becomes an answer
            await answer(scope, send, error)
