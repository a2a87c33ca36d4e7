"""The architecture as SVG: data flows downwards, a box a layer, skip connections on the right."""

from html import escape
from typing import Final

from msgspec import Struct

from training.report.facts import Layer
from training.report.stages import boxes, ranks

_WIDTH: Final = 760
_BOX: Final = 540
_ROW: Final = 32  # height of a box with one line
_TALL: Final = 50  # and with two, where boxes stand side by side
_GAP: Final = 16
_LANE: Final = 12
_CHARACTER: Final = 6.6  # pixels a character takes, about


class _Place(Struct, frozen=True):
    x: float
    y: float
    width: float
    height: float
    rank: int

    @property
    def centre(self) -> float:
        return self.x + self.width / 2


def draw(layers: tuple[Layer, ...]) -> str:
    """Return an SVG element that takes its colours from the page (--ink, --soft, --line, --accent)."""
    rows = ranks(boxes(layers))
    places, height = _place(rows)
    edges = _edges(rows, places)
    drawn = "".join(_box(layer, places[layer.name]) for row in rows for layer in row)
    return (
        f'<svg class="net" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="Architecture, from input to output">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" class="tip"/></marker></defs>{edges}{drawn}</svg>'
    )


def _place(rows: list[list[Layer]]) -> tuple[dict[str, _Place], float]:
    places: dict[str, _Place] = {}
    top = 1.0
    for rank, row in enumerate(rows):
        width = min(_BOX, (_WIDTH - 120 - (len(row) - 1) * _GAP) / len(row))
        height = _ROW if len(row) == 1 else _TALL
        left = (_WIDTH - len(row) * width - (len(row) - 1) * _GAP) / 2
        for index, layer in enumerate(row):
            places[layer.name] = _Place(left + index * (width + _GAP), top, width, height, rank)
        top += height + _GAP + (_GAP if len(row) > 1 else 0)
    return places, top - _GAP + 1


def _edges(rows: list[list[Layer]], places: dict[str, _Place]) -> str:
    drawn, lanes = [], 0
    for row in rows:
        for layer in row:
            for source in layer.inputs:
                if source not in places:
                    continue
                start, end = places[source], places[layer.name]
                if end.rank == start.rank + 1:
                    drawn.append(_down(start, end))
                else:
                    edge = max(place.x + place.width for place in places.values() if start.rank <= place.rank <= end.rank)
                    drawn.append(_around(start, end, edge + 14 + lanes % 5 * _LANE))
                    lanes += 1
    return "".join(drawn)


def _down(start: _Place, end: _Place) -> str:
    y1, y2 = start.y + start.height, end.y - 1
    middle = (y1 + y2) / 2
    return _path(
        f"M{start.centre:.0f} {y1:.0f}C{start.centre:.0f} {middle:.0f} {end.centre:.0f} {middle:.0f} {end.centre:.0f} {y2:.0f}"
    )


def _around(start: _Place, end: _Place, out: float) -> str:
    x1, x2 = start.x + start.width, end.x + end.width + 1
    y1, y2 = start.y + start.height / 2, end.y + end.height / 2
    return _path(f"M{x1:.0f} {y1:.0f}H{out - 6:.0f}q6 0 6 6V{y2 - 6:.0f}q0 6 -6 6H{x2:.0f}")


def _path(data: str) -> str:
    return f'<path class="edge" d="{data}" marker-end="url(#tip)"/>'


def _box(layer: Layer, place: _Place) -> str:
    kind = "Input" if layer.kind == "InputLayer" else layer.kind
    size = f"{layer.parameters:,} parameters" if layer.parameters else ""
    where = f'x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" height="{place.height}"'
    frame = f'<rect class="box{" held" if size else ""}" {where} rx="6"/>'
    title = escape(f"{layer.name}: {kind} {layer.detail} -> {layer.shape} {size}")
    return f"<g><title>{title}</title>{frame}{_texts(layer, kind, size, place)}</g>"


def _texts(layer: Layer, kind: str, size: str, place: _Place) -> str:
    left, right = place.x + 12, place.x + place.width - 12
    if place.height == _ROW:
        y = place.y + _ROW / 2 + 4.5
        columns = (_text(place.x + place.width * 0.68, y, layer.shape, "soft end"), _text(right, y, size, "soft end"))
        return _label(left, y, kind, layer.detail, place.width * 0.5) + "".join(columns)
    lines = _label(left, place.y + 20, kind, layer.detail, place.width - 24)
    return lines + _text(left, place.y + 39, " · ".join(part for part in (layer.shape, size) if part), "soft", place.width - 24)


def _label(x: float, y: float, kind: str, detail: str, room: float) -> str:
    kind = _fit(kind, room)
    detail = _fit(detail, room - (len(kind) + 1) * _CHARACTER)
    return f'<text x="{x:.1f}" y="{y:.1f}"><tspan class="kind">{escape(kind)}</tspan> {escape(detail)}</text>'


def _text(x: float, y: float, text: str, style: str, room: float = _WIDTH) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(_fit(text, room))}</text>' if text else ""


def _fit(text: str, room: float) -> str:
    most = max(int(room / _CHARACTER), 1)
    return text if len(text) <= most else text[: most - 1] + "…"
