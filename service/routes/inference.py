"""`POST /v2/models/.../infer`: a body into tensors, and an answer back into one."""

from collections.abc import Awaitable
from functools import partial
from math import inf
from typing import Final

from service.errors import MalformedBody, shown
from service.http.exchange import Exchange
from service.inference.served_model import Answer, ServedModel
from service.offload import LARGE_TENSORS
from service.protocols import open_inference
from service.protocols.features import ModelInputs
from service.protocols.infer_request import InferRequest
from service.registry import Registry
from service.routes.answering import BINARY_TYPE, Answering, Decoded, Encoded

_JSON_SIZE: Final = b"inference-header-content-length"


class Inference:
    """The handler over a registry."""

    def __init__(self, registry: Registry, answering: Answering) -> None:
        self._registry = registry
        self._answering = answering

    def __call__(self, exchange: Exchange, name: str, version: str | None) -> Awaitable[None]:
        """Answer one call."""
        find = partial(self._registry.get, name, version)
        json_size = exchange.header(_JSON_SIZE)
        return self._answering(exchange, find, partial(_decode, json_size), partial(_takes_long, json_size))


def _takes_long(json_size: str | None, body: bytes | bytearray, model: ServedModel) -> bool:
    """Whether decoding may take milliseconds. Numbers in binary form are looked at, not read."""
    if len(body) <= LARGE_TENSORS:
        return False
    return json_size is None or model.takes_text or not json_size.isdecimal() or int(json_size[:20]) > LARGE_TENSORS


def _decode(json_size: str | None, body: bytes | bytearray, model: ServedModel) -> Decoded:
    request = _request(json_size, body, model)
    return Decoded(
        ModelInputs(request.inputs, request.missing),
        partial(_encode, model.name, model.version, request),
        request.output_names,
        request.options.timeout,
        request.options.priority,
        inf if request.options.binary_outputs else LARGE_TENSORS,  # which are copied at the most
    )


def _request(json_size: str | None, body: bytes | bytearray, model: ServedModel) -> InferRequest:
    if json_size is None:
        return open_inference.decode(body)
    if not json_size.isdecimal() or len(json_size) > len(str(len(body))):
        raise MalformedBody(
            f"Inference-Header-Content-Length is '{shown(json_size)}'; expected the size of the JSON, from 1 to {len(body)}, "
            "or 0 for a body of raw bytes."
        )
    size = int(json_size)
    return open_inference.decode(body, json_size=size) if size else open_inference.decode_raw(body, model.signature)


def _encode(name: str, version: int, request: InferRequest, answer: Answer) -> Encoded:
    encoded = open_inference.encode(answer, model=name, version=version, request=request)
    if encoded.json_size is None:
        return Encoded(encoded.parts)
    return Encoded(encoded.parts, BINARY_TYPE, ((_JSON_SIZE, str(encoded.json_size).encode()),))
