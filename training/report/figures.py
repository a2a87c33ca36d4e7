"""The plots, drawn with matplotlib: as SVG whose colours are the page's, and as PNG.

matplotlib knows no CSS. The figures are drawn in a few odd colours, each of which stands for a variable of the page and is
replaced by it in the SVG, so that a plot follows the reader's light or dark theme.
"""

import io
import re
from contextlib import AbstractContextManager
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK: Final = "#343a41"
SOFT: Final = "#6b7681"
LINE: Final = "#d9dee4"
FIRST: Final = "#2a6fbb"
SECOND: Final = "#d9730d"
_VARIABLES: Final = {INK: "--ink", SOFT: "--soft", LINE: "--line", FIRST: "--accent", SECOND: "--second"}

_PRECISE: Final = re.compile(r"\d+\.\d{2,}")
_SETTINGS: Final[Any] = {  # Any: the keys are too many to spell as a type
    "svg.fonttype": "none",
    "svg.hashsalt": "axon",
    "font.family": "sans-serif",
    "font.size": 7.5,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def figure(panels: int, *, height: float = 2.7, width: float = 7.6) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with panels side by side; sizes in inches. To be drawn `in_our_style`."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    return drawn, list(drawn.subplots(1, panels, squeeze=False)[0])


def in_our_style() -> AbstractContextManager[None]:
    """Draw what is drawn in this block in the style of the report."""
    return mpl.rc_context(_SETTINGS)


def as_svg(drawn: Figure) -> str:
    """Return an SVG element without size, so that it fills its column, with the page's colours."""
    stream = io.StringIO()
    with in_our_style():
        drawn.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 class="plot" role="img"', text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return _shorter(text)


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.1f}".removesuffix(".0")


def _shorter(svg: str) -> str:
    """Leave out what changes nothing on the page: half of what matplotlib writes."""
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)  # the page's is used
    svg = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", svg)
    svg = re.sub(r' (?:d|x|y|width|height|transform)="[^"]*"', lambda found: _PRECISE.sub(_rounded, found[0]), svg)
    referred = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("<g/>", "")
    return re.sub(r"> <", "><", svg).strip()


def as_png(drawn: Figure) -> bytes:
    """Return the figure on white, 200 pixels an inch."""
    stream = io.BytesIO()
    with in_our_style():
        drawn.savefig(stream, format="png", dpi=200, facecolor="white")
    return stream.getvalue()
