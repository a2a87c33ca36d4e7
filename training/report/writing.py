"""Write the report into a directory."""

from pathlib import Path
from typing import Final

from training.report.facts import ReportFacts
from training.report.figures import as_png, as_svg, in_our_style
from training.report.page import page
from training.report.plots import plots

REPORT_NAME: Final = "report.html"


def write_report(facts: ReportFacts, directory: Path, *, pictures: bool = False) -> tuple[Path, ...]:
    """Write `report.html`, and with `pictures` each plot as `report-<plot>.png` too; return the files. Raises OSError."""
    with in_our_style():
        drawn = plots(facts)
    report = directory / REPORT_NAME
    report.write_text(page(facts, {name: as_svg(plot) for name, plot in drawn.items()}), encoding="utf-8")
    written = [report]
    if pictures:
        for name, plot in drawn.items():
            path = directory / f"report-{name}.png"
            path.write_bytes(as_png(plot))
            written.append(path)
    return tuple(written)
