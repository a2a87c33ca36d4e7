"""`POST /models/{name}/predict`, also of a version or a label: names, pictures, tables and arrays in, labels and units out."""

import re
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPScope, Receive, Send

from service.errors import InvalidRequest, MethodNotAllowed, NotFound, shown
from service.inference.served_model import ServedModel
from service.protocols import prediction
from service.registry import Registry
from service.routes.answering import Answering, Decoded
from service.routes.asgi import header

PATH: Final = "/models"
_MODEL_PATH: Final = re.compile(r"/([^/]+)(?:/versions/([^/]+)|/labels/([^/]+))?/predict/")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,5}")


class PredictionRoutes:
    """The handler below `/models`."""

    def __init__(self, registry: Registry, answering: Answering) -> None:
        self._registry = registry
        self._answering = answering

    def handler(self) -> ASGIRouteHandler:
        """Return the mount for the application."""

        @asgi(PATH, is_mount=True, copy_scope=False)
        async def predictions(scope: HTTPScope, receive: Receive, send: Send) -> None:
            await self(scope, receive, send)

        return predictions

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        match = _MODEL_PATH.fullmatch(scope["path"])
        if match is None:
            raise NotFound(f"There is nothing at {PATH}{shown(scope['path'].rstrip('/'))}. See /openapi.json for what there is.")
        if scope["method"] != "POST":
            raise MethodNotAllowed(scope["method"], PATH + scope["path"].rstrip("/"), "POST")
        top = _top(scope["query_string"])
        kind = prediction.answer_type(header(scope, b"accept"))
        content_type = header(scope, b"content-type")
        prediction.refuse_other_bodies(content_type)

        def decode(body: bytes, model: ServedModel) -> Decoded:
            limit = self._answering.max_body_size
            inputs = prediction.decode(body, content_type, model.name, model.signature, limit=limit)
            encode = partial(prediction.encode, kind=kind, model=model.name, version=model.version, top=top)
            return Decoded(inputs, encode, content_type=kind.encode())

        await self._answering(scope, receive, send, partial(self._registry.get, *match.groups()), decode)


def _top(query: bytes) -> int:
    """Return how many labels a row is to have."""
    top = prediction.DEFAULT_TOP
    for key, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if key != "top":
            raise InvalidRequest(
                f"There is no parameter '{shown(key)}'; the one there is is 'top', how many labels a row is to have."
            )
        if _NUMBER.fullmatch(value) is None:
            raise InvalidRequest(f"top is '{shown(value)}'; expected how many labels a row is to have, from 1 to 999999.")
        top = int(value)
    return top
