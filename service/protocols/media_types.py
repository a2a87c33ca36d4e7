"""Media types of bodies: what a Content-Type names, and which of several an Accept header likes best. RFC 9110 8.3 and 12.5.1."""

from collections.abc import Sequence
from typing import Final

JSON: Final = "application/json"


def media_type(content_type: str | None) -> str:
    """Return the type without its parameters, in lower case; empty for none."""
    return (content_type or "").split(";", 1)[0].strip().lower()


def best(accept: str | None, offered: Sequence[str]) -> str | None:
    """Return the type that a client likes best of those offered, which stand in the server's order; None if it takes none."""
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")]
    weights = {kind: _weight(kind, ranges) for kind in offered}
    favourite = max(offered, key=lambda kind: weights[kind])
    return favourite if weights[favourite] > 0 else None


def _range(text: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((parameter.removeprefix("q=") for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        return kind, float(quality)
    except ValueError:
        return kind, 0.0


def _weight(kind: str, ranges: list[tuple[str, float]]) -> float:
    """Return the quality of the most specific range that a type is in."""
    for pattern in (kind, kind.split("/", 1)[0] + "/*", "*/*"):
        found = [quality for name, quality in ranges if name == pattern]
        if found:
            return found[0]
    return 0.0
