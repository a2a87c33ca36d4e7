"""`/v1/models/...`: TensorFlow Serving's REST protocol, with what KServe's V1 adds."""

import re
from collections.abc import Callable
from functools import partial
from typing import Final

from service.errors import InvalidRequest, VersionNotFound
from service.http.exchange import Exchange
from service.inference.served_model import ServedModel
from service.protocols import servables, tensorflow_serving
from service.registry import Registry
from service.routes.answering import Answering, Decoded, Encoded, may_take_long, respond_json
from service.routes.requests import nothing_at, require

PATH: Final = "/v1/models"
_CALL: Final = re.compile(
    r"/([^/:]+)(?:/versions/([^/:]+))?(?:/labels/([^/:]+))?(?:/(metadata)|:(predict|classify|regress))?", re.IGNORECASE
)


class TensorflowServingRoutes:
    """The handlers below `/v1/models`."""

    def __init__(self, registry: Registry, answering: Answering) -> None:
        self._registry = registry
        self._answering = answering
        self._decoders: dict[str, Callable[[bytes | bytearray, ServedModel], Decoded]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }

    async def __call__(self, exchange: Exchange, path: str) -> None:
        """Find what the path below names."""
        match = _CALL.fullmatch(path)
        if match is None:
            await self._list(exchange, path)
            return
        name, version, label, metadata, verb = match.groups()
        if version is not None and label is not None:
            raise InvalidRequest("The address has both a version and a label. Name one of them.")
        require(exchange, "POST" if verb else "GET", PATH + path)
        if verb:
            find = partial(self._registry.get, name, version, label)
            await self._answering(exchange, find, self._decoders[verb.lower()], may_take_long)
        elif metadata:
            model = self._registry.get(name, version, label)
            await respond_json(exchange, servables.metadata(model.name, model.version, model.signature))
        else:
            await respond_json(exchange, self._status(name, version, label))

    def _predict(self, body: bytes | bytearray, model: ServedModel) -> Decoded:
        limit = self._answering.max_body_size
        request = tensorflow_serving.decode_predict(body, model.name, model.signature, limit=limit)
        return Decoded(request.inputs, lambda answer: Encoded([tensorflow_serving.encode_predict(answer, rows=request.rows)]))

    def _classify(self, body: bytes | bytearray, model: ServedModel) -> Decoded:
        output = tensorflow_serving.classes_of(model.name, model.signature)
        inputs = tensorflow_serving.decode_examples(body, model.name, model.signature, limit=self._answering.max_body_size)
        return Decoded(inputs, lambda answer: Encoded([tensorflow_serving.encode_classify(answer)]), (output.name,))

    def _regress(self, body: bytes | bytearray, model: ServedModel) -> Decoded:
        output = tensorflow_serving.value_of(model.name, model.signature)
        inputs = tensorflow_serving.decode_examples(body, model.name, model.signature, limit=self._answering.max_body_size)
        return Decoded(inputs, lambda answer: Encoded([tensorflow_serving.encode_regress(answer)]), (output.name,))

    def _status(self, name: str, version: str | None, label: str | None) -> dict[str, object]:
        """Return the states of all versions of a model, or of the one that is named. Raises ModelNotFound or VersionNotFound."""
        if label is not None:
            version = str(self._registry.get(name, label=label).version)
        number = None if version is None else version.lstrip("0")  # 01 is 1, as in every other call
        found = [status for status in self._registry.index() if status.name == name]
        if not found:
            self._registry.get(name)  # says what there is instead
        wanted = [status for status in found if status.version and number in (None, status.version)]
        if version is not None and not wanted:
            raise VersionNotFound(name, version, self._registry.versions(name))
        serving = self._registry.versions(name)
        ready = bool(serving) if number is None else int(number) in serving
        return servables.status(name, [(status.version, status.state, status.reason) for status in wanted], ready=ready)

    async def _list(self, exchange: Exchange, path: str) -> None:
        """`GET /v1/models`, as KServe has it: the names of the models that are ready."""
        if path:
            raise nothing_at(PATH + path)
        require(exchange, "GET", PATH)
        await respond_json(exchange, {"models": self._registry.ready_names()})
