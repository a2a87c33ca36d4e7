"""What the API description says of keys: how one is sent, which scope each operation needs, and how it is refused."""

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from service.routes.protection import needed_scope

Document = dict[str, Any]
_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, made by `axon keys create`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in a header of its own."},
}
_REFUSALS: Final = {
    "401": "No API key, or one that is not valid or has expired",
    "403": "The API key lacks the scope that the operation needs",
    "429": "The API key has spent what its rate allows; see Retry-After",
}


def secured(open_paths: Collection[str]) -> Callable[[Document], Document]:
    """Return a function that adds this to a document, but for the operations at `open_paths`."""

    def secure(document: Document) -> Document:
        for path, method, operation in _operations(document):
            if path in open_paths:
                continue
            scope = needed_scope(method.upper(), path)
            operation["security"] = [{"bearer": [scope]}, {"apiKey": [scope]}]
            for status, meaning in _REFUSALS.items():
                operation["responses"].setdefault(status, _answer(meaning))
        document["components"] = document["components"] | {"securitySchemes": _SCHEMES}
        return document

    return secure


def _operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give each path, method and operation; `parameters` stands beside the methods."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict) and "responses" in operation:
                yield path, method, operation


def _answer(meaning: str) -> dict[str, Any]:
    return {"description": meaning, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
