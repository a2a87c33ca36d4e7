"""`/docs`: the API as a page to read and to try. Its parts are in the package, so it needs nothing from elsewhere.

The parts are Swagger UI 5.35.0 as published, its script and its style sheet, each compressed by gzip.
"""

import gzip
from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from service.errors import NotFound, shown
from service.protocols.compression import accepted_coding

PATH: Final = "/docs"
_PARTS: Final = Path(__file__).parent / "swagger_ui"
_TYPES: Final = {"swagger-ui-bundle.js": "text/javascript; charset=utf-8", "swagger-ui.css": "text/css; charset=utf-8"}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Axon</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, displayRequestDuration: true})</script>
</body>
</html>
"""


def handlers() -> list[HTTPRouteHandler]:
    """Return the handlers of the page and of its parts."""

    @get(PATH, sync_to_thread=False)
    def page() -> Response[str]:
        return Response(_PAGE, headers={"content-type": "text/html; charset=utf-8"})

    @get(PATH + "/{part:str}", sync_to_thread=True)
    def part(part: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
        if part not in _TYPES:
            raise NotFound(f"There is nothing at {PATH}/{shown(part)}.")
        content = (_PARTS / f"{part}.gz").read_bytes()
        headers = {"content-type": _TYPES[part], "cache-control": "max-age=86400", "vary": "accept-encoding"}
        if accepted_coding(request.headers.get("accept-encoding", "")) != "gzip":
            return Response(gzip.decompress(content), headers=headers)
        return Response(content, headers=headers | {"content-encoding": "gzip"})

    return [page, part]
