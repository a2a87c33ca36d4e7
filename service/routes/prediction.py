"""`POST /models/{name}/predict`, also of a version or a label: names, pictures, tables and arrays in, labels and units out."""

import re
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

from service.errors import InvalidRequest, shown
from service.http.exchange import Exchange
from service.inference.served_model import Answer, ServedModel
from service.protocols import prediction
from service.registry import Registry
from service.routes.answering import Answering, Decoded, Encoded, may_take_long
from service.routes.requests import nothing_at, require

PATH: Final = "/models"
_CALL: Final = re.compile(r"/([^/]+)(?:/versions/([^/]+)|/labels/([^/]+))?/predict")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,5}")


class PredictionRoutes:
    """The handler below `/models`."""

    def __init__(self, registry: Registry, answering: Answering) -> None:
        self._registry = registry
        self._answering = answering

    async def __call__(self, exchange: Exchange, path: str) -> None:
        """Answer one call at the path below."""
        match = _CALL.fullmatch(path)
        if match is None:
            raise nothing_at(PATH + path)
        require(exchange, "POST", PATH + path)
        top = _top(exchange.query)
        kind = prediction.answer_type(exchange.header(b"accept"))
        content_type = exchange.header(b"content-type")
        prediction.refuse_other_bodies(content_type)

        def decode(body: bytes | bytearray, model: ServedModel) -> Decoded:
            limit = self._answering.max_body_size
            inputs = prediction.decode(body, content_type, model.name, model.signature, limit=limit)

            def encode(answer: Answer) -> Encoded:
                body = prediction.encode(answer, kind=kind, model=model.name, version=model.version, top=top)
                return Encoded([body], kind.encode())

            return Decoded(inputs, encode)

        await self._answering(exchange, partial(self._registry.get, *match.groups()), decode, may_take_long)


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
