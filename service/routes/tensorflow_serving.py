"""`/v1/models/...`: TensorFlow Serving's REST protocol, with what KServe's V1 adds. One ASGI mount, as for `/v2/models`."""

import re
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPScope, Receive, Send

from service.errors import InvalidRequest, MethodNotAllowed, NotFound, VersionNotFound, shown
from service.inference.served_model import ServedModel
from service.protocols import servables, tensorflow_serving
from service.registry import Registry
from service.routes.answering import Answering, Decoded
from service.routes.asgi import respond

PATH: Final = "/v1/models"
_MODEL_PATH: Final = re.compile(
    r"/([^/:]+)(?:/versions/([^/:]+))?(?:/labels/([^/:]+))?(?:/(metadata)|:(predict|classify|regress))?/", re.IGNORECASE
)


class TensorflowServingRoutes:
    """The handlers below `/v1/models`."""

    def __init__(self, registry: Registry, answering: Answering) -> None:
        self._registry = registry
        self._answering = answering
        self._decoders: dict[str, Callable[[bytes, ServedModel], Decoded]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }

    def handler(self) -> ASGIRouteHandler:
        """Return the mount for the application."""

        @asgi(PATH, is_mount=True, copy_scope=False)
        async def servables_mount(scope: HTTPScope, receive: Receive, send: Send) -> None:
            await self(scope, receive, send)

        return servables_mount

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Find what the rest of the path names."""
        match = _MODEL_PATH.fullmatch(scope["path"])
        if match is None:
            await self._list(scope, send)
            return
        name, version, label, metadata, verb = match.groups()
        if version is not None and label is not None:
            raise InvalidRequest("The address has both a version and a label. Name one of them.")
        _require(scope, "POST" if verb else "GET")
        if verb:
            find = partial(self._registry.get, name, version, label)
            await self._answering(scope, receive, send, find, self._decoders[verb.lower()])
        elif metadata:
            model = self._registry.get(name, version, label)
            await respond(send, msgspec.json.encode(servables.metadata(model.name, model.version, model.signature)))
        else:
            await respond(send, msgspec.json.encode(self._status(name, version, label)))

    def _predict(self, body: bytes, model: ServedModel) -> Decoded:
        limit = self._answering.max_body_size
        request = tensorflow_serving.decode_predict(body, model.name, model.signature, limit=limit)
        return Decoded(request.inputs, partial(tensorflow_serving.encode_predict, rows=request.rows))

    def _classify(self, body: bytes, model: ServedModel) -> Decoded:
        output = tensorflow_serving.classes_of(model.name, model.signature)
        inputs = tensorflow_serving.decode_examples(body, model.name, model.signature, limit=self._answering.max_body_size)
        return Decoded(inputs, tensorflow_serving.encode_classify, (output.name,))

    def _regress(self, body: bytes, model: ServedModel) -> Decoded:
        output = tensorflow_serving.value_of(model.name, model.signature)
        inputs = tensorflow_serving.decode_examples(body, model.name, model.signature, limit=self._answering.max_body_size)
        return Decoded(inputs, tensorflow_serving.encode_regress, (output.name,))

    def _status(self, name: str, version: str | None, label: str | None) -> dict[str, object]:
        """Return the states of all versions of a model, or of the one that is named. Raises ModelNotFound or VersionNotFound."""
        if label is not None:
            version = str(self._registry.get(name, label=label).version)
        found = [status for status in self._registry.index() if status.name == name]
        if not found:
            self._registry.get(name)  # says what there is instead
        wanted = [status for status in found if status.version and version in (None, status.version)]
        if version is not None and not wanted:
            raise VersionNotFound(name, version, self._registry.versions(name))
        serving = self._registry.versions(name)
        ready = bool(serving) if version is None else int(version) in serving
        return servables.status(name, [(status.version, status.state, status.reason) for status in wanted], ready=ready)

    async def _list(self, scope: HTTPScope, send: Send) -> None:
        """`GET /v1/models`, as KServe has it: the names of the models that are ready."""
        if scope["path"] != "/":
            raise NotFound(f"There is nothing at {PATH}{shown(scope['path'].rstrip('/'))}. See /openapi.json for what there is.")
        _require(scope, "GET")
        await respond(send, msgspec.json.encode({"models": sorted({model.name for model in self._registry.served()})}))


def _require(scope: HTTPScope, method: str) -> None:
    if scope["method"] != method:
        raise MethodNotAllowed(scope["method"], PATH + scope["path"].rstrip("/"), method)
