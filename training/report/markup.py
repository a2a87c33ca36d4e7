"""Small pieces of HTML: everything that is not markup is escaped here."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

_SMALL: Final = 1e-3
_LARGE: Final = 1e5


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def cell(value: object) -> str:
    """Return `value` as HTML."""
    return value if isinstance(value, Markup) else escape(str(value))


def table(
    heading: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[int] = (), wide: int | None = None
) -> Markup:
    """Return a table; the columns `numbers` are aligned at the right, the column `wide` takes what room is left."""

    def line(cells: Sequence[object], tag: str) -> str:
        styles = [" class=n" if index in numbers else " class=w" if index == wide else "" for index in range(len(cells))]
        return (
            "<tr>" + "".join(f"<{tag}{style}>{cell(value)}</{tag}>" for value, style in zip(cells, styles, strict=True)) + "</tr>"
        )

    head = f"<thead>{line(heading, 'th')}</thead>" if any(heading) else ""
    return Markup(f'<div class="scroll"><table>{head}<tbody>{"".join(line(row, "td") for row in rows)}</tbody></table></div>')


def section(title: str, *parts: str) -> Markup:
    """Return a section of the page; nothing without content."""
    body = "".join(cell(part) for part in parts)
    anchor = "".join(character if character.isalnum() else "-" for character in title.lower())
    return Markup(f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>') if body else Markup()


def paragraph(text: str, style: str = "") -> Markup:
    """Return a paragraph."""
    return Markup(f"<p{f' class={style}' if style else ''}>{cell(text)}</p>")


def picture(svg: str, caption: str) -> Markup:
    """Return a figure with its caption."""
    return Markup(f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>")


def number(value: float) -> str:
    """Write a number with four significant digits."""
    if value and not _SMALL <= abs(value) < _LARGE:
        return f"{value:.3g}"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 10_000 else f"{value:.4g}"  # noqa: PLR2004


def percent(share: float) -> str:
    """Write a share in percent."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
