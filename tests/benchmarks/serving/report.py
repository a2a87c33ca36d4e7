"""The result as a Markdown table and as a plot."""

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import matplotlib as mpl
from comparison import Case, Result

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

PACKAGES: Final = (
    "onnxruntime",
    "uvicorn",
    "httptools",
    "uvloop",
    "litestar",
    "pysimdjson",
    "orjson",
    "numpy",
    "fastapi",
    "pydantic",
)
CLOSED: Final = (
    "model", "encoding", "rows", "connections", "onnxruntime best rows/s (batch)", "loop rows/s", "Axon rows/s", "of the best",
    "of the best, per CPU second", "requests/s", "p50 ms", "p99 ms", "plain requests/s", "times plain",
)  # fmt: skip
PACED: Final = ("model", "encoding", "rows", "connections", "requests/s", "of its closed loop", "p50 ms", "p99 ms", "p99.9 ms")
_SPREAD: Final = "Medians; in brackets the smallest and the largest round."
IDLE: Final = ("model", "encoding", "bare run p50 ms", "over HTTP p50 ms", "difference microseconds")


def machine() -> str:
    """Return one line on the machine and the versions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{processor}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}, {versions}"


def markdown(results: Sequence[Result], idle: Sequence[tuple[Case, float, float]], *, rounds: int, seconds: float) -> str:
    """Return the tables: medians of the rounds, with the smallest and the largest in brackets."""
    parts = [
        "# Serving benchmark",
        machine(),
        f"{rounds} rounds of {seconds:g} s a side, sides in turns; the server on one CPU, its load on another. {_SPREAD}",
        "## Closed loops",
        table(CLOSED, map(_closed_row, results)),
    ]
    if any(result.paced for result in results):
        parts += ["## At a fixed rate, latency from the moment a request was due"]
        parts += [table(PACED, (row for result in results for row in _paced_rows(result)))]
    if idle:
        parts += ["## Idle: one connection, one row, about 50 requests a second"]
        rows = ([case.model, case.encoding, _ms(bare), _ms(ours), f"{(ours - bare) * 1e6:.0f}"] for case, bare, ours in idle)
        parts += [table(IDLE, rows)]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw the shares of the ceiling and the factors over the plain endpoint, a bar with its spread for each case."""
    compared = [result for result in results if result.plain]
    figure, axes = plt.subplots(1, 2, figsize=(13, 2 + 0.28 * len(results)), layout="constrained")
    _bars(axes[0], results, [result.shares for result in results], "rows/s as a share of onnxruntime's best")
    _bars(axes[1], compared, [result.factors for result in compared], "requests/s as a multiple of FastAPI + onnxruntime")
    figure.savefig(path, dpi=120)


def _bars(axes: Axes, results: Sequence[Result], values: Sequence[Sequence[float]], title: str) -> None:
    medians = [statistics.median(rounds) for rounds in values]
    below = [median - min(rounds) for median, rounds in zip(medians, values, strict=True)]
    above = [max(rounds) - median for median, rounds in zip(medians, values, strict=True)]
    names = [f"{r.case.model} {r.case.encoding} {r.case.rows} x {r.case.connections}" for r in results]
    axes.barh(names, medians, xerr=[below, above], color="#4878a8", ecolor="#303030", capsize=2)
    axes.invert_yaxis()
    axes.axvline(1, color="#303030", linewidth=0.8)
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)


def _closed_row(result: Result) -> list[str]:
    case = result.case
    best = [alone.best for alone in result.alone]
    batch = statistics.mode(alone.best_rows for alone in result.alone)
    row = [case.model, case.encoding, str(case.rows), str(case.connections), f"{statistics.median(best):,.0f} ({batch})"]
    row += [f"{statistics.median(alone.loop for alone in result.alone):,.0f}", f"{case.rows * result.median_rate():,.0f}"]
    row += [_spread(result.shares), _spread(result.cpu_shares), f"{result.median_rate():,.0f}"]
    row += [_ms(statistics.median(loaded.p50 for loaded in result.axon)), _ms(statistics.median(r.p99 for r in result.axon))]
    if not result.plain:
        return [*row, "", ""]
    return [*row, f"{statistics.median(plain.rate for plain in result.plain):,.0f}", _spread(result.factors)]


def _paced_rows(result: Result) -> Iterable[list[str]]:
    case = result.case
    for share, rounds in result.paced.items():
        tails = [statistics.median(loaded.p999 or 0.0 for loaded in rounds)]
        times = [statistics.median(loaded.p50 for loaded in rounds), statistics.median(loaded.p99 for loaded in rounds), *tails]
        rate = statistics.median(loaded.rate for loaded in rounds)
        head = [case.model, case.encoding, str(case.rows), str(case.connections), f"{rate:,.0f}", f"{share:.0%}"]
        yield [*head, *map(_ms, times)]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}" if seconds < 0.01 else f"{seconds * 1e3:.1f}"
