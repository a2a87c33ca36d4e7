"""The sections on how good the model is: metrics and gate, mistakes, calibration, residuals, slices."""

from html import escape
from typing import Final

from service.repository.metrics import METRICS
from training.evaluation.acceptance import Verdict
from training.evaluation.result import Evaluation, Slice, metric_of
from training.report.markup import Markup, number, paragraph, percent, picture, section, table
from training.report.summary import shown_as

_MOST_SLICES: Final = 12
_MOST_NUMBERS: Final = 20
_MOST_CLASSES: Final = 60


def titled(title: str, output: str) -> str:
    """Return the title of a section about one of several outputs; "" is the only output."""
    return f"{output}: {title.lower()}" if output else title


def metrics(evaluation: Evaluation, verdict: Verdict, output: str = "") -> Markup:
    """Return every metric with its interval, what was demanded of it, and whether it was met."""
    demands: dict[str, list[Markup]] = {}
    for check in verdict.checks:
        sign = "≥" if check.at_least else "≤"
        style, mark = ("good", "✓") if check.passed else ("bad", "✗ missed")
        source = "" if check.published is None else " by the published version"
        text = f'<span class="{style}">{sign} {number(check.bound)}{source} {mark}</span>'
        demands.setdefault(check.metric, []).append(Markup(text))
    rows = [
        (
            _title(evaluation, name),
            shown_as(name)(value),
            _interval(evaluation, name),
            Markup("<br>".join(demands.get(metric_of(name, output), []))),
        )
        for name, value in sorted(evaluation.metrics.items(), key=_place)
    ]
    said = f"On {evaluation.rows:,} test rows. The interval is where the figure lies for other rows of the same kind (bootstrap)."
    return section(
        titled("Metrics", output),
        paragraph(said, "soft"),
        table(("metric", "test", "95 % interval", "demanded"), rows, numbers=(1, 2)),
    )


def mistakes(evaluation: Evaluation, plot: str, output: str = "") -> Markup:
    """Return the confusion matrix and the figures of each label."""
    if not evaluation.classes:
        return Markup()
    matrix = Markup()
    if evaluation.confusion:
        few = len(evaluation.labels) <= _MOST_NUMBERS
        drawn = _confusion(evaluation) if few else picture(plot, "Share of each label's rows by what was predicted for them.")
        said = "Each line is an actual label, each column a predicted one: what is off the diagonal are the mistakes."
        matrix = Markup(paragraph(said, "soft") + drawn)
    ordered = sorted(evaluation.classes, key=lambda label: label.f1)
    rows = [(part.label, f"{part.rows:,}", percent(part.precision), percent(part.recall), percent(part.f1)) for part in ordered]
    kept = table(("label, worst first", "rows", "precision", "recall", "F1"), rows[:_MOST_CLASSES], numbers=(1, 2, 3, 4))
    said = "Precision: of the rows given this label, the share that has it. Recall: of the rows that have it, the share found."
    return section(titled("Mistakes by label", output), matrix, kept, paragraph(said, "soft"))


def slices(evaluation: Evaluation, output: str = "") -> Markup:
    """Return the slices where the model is weakest."""
    found = evaluation.slices
    if not found.rows:
        return Markup()
    shown = percent if found.metric == "accuracy" else number
    few = len(found.rows) <= _MOST_SLICES
    said = (
        (f"All {len(found.rows)}" if few else f"The {_MOST_SLICES} worst of {len(found.rows)}")
        + f" slices of at least 10 rows. Over all rows the {METRICS[found.metric].title} is {shown(found.overall)}; "
        "a slice whose whole interval is worse is marked. One in forty is so by chance."
    )
    rows = [_slice(part, shown(part.figure), f"{shown(part.interval[0])} to {shown(part.interval[1])}") for part in found.rows]
    heading = ("feature", "value", "rows", METRICS[found.metric].title, "95 % interval", "")
    return section(
        titled("Where it is weak", output), paragraph(said, "soft"), table(heading, rows[:_MOST_SLICES], numbers=(2, 3, 4))
    )


def residuals(evaluation: Evaluation, plot: str, output: str = "") -> Markup:
    """Return how the errors of each target are spread."""
    if not evaluation.residuals:
        return Markup()
    quantiles = list(evaluation.residuals[0].quantiles)
    rows = [
        (part.name + (f" ({part.unit})" if part.unit else ""), *map(number, (part.mean, part.std, *part.quantiles.values())))
        for part in evaluation.residuals
    ]
    heading = ("target", "mean", "std", *(f"{percent} %" for percent in quantiles))
    caption = "Points on the dashed line are predicted exactly." if evaluation.task == "regression" else ""
    title = "Errors" if evaluation.task == "regression" else "Reconstruction errors"
    said = paragraph("Quantiles of predicted − actual.", "soft") if caption else ""  # noqa: RUF001 -- a minus sign
    return section(titled(title, output), picture(plot, caption), said, table(heading, rows, numbers=range(1, len(heading))))


def _slice(part: Slice, figure: str, interval: str) -> tuple[object, ...]:
    mark = Markup('<span class="bad">worse</span>') if part.worse else ""
    return (part.feature, part.value, f"{part.rows:,}", figure, interval, mark)


def _confusion(evaluation: Evaluation) -> Markup:
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in evaluation.labels)
    lines: list[str] = []
    for label, counts in zip(evaluation.labels, evaluation.confusion, strict=True):
        total = max(sum(counts), 1)
        cells = "".join(_count(count, count / total, right=index == len(lines)) for index, count in enumerate(counts))
        lines.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>')
    return Markup(f'<div class="scroll"><table class="confusion"><tr><td></td>{head}</tr>{"".join(lines)}</table></div>')


def _count(count: int, share: float, *, right: bool) -> str:
    if not count:
        return '<td class="none">·</td>'
    colour, strength = ("--accent", 12 + 45 * share) if right else ("--second", 18 + 60 * share)
    return (
        f'<td style="background:color-mix(in srgb,var({colour}) {strength:.0f}%,transparent)" title="{percent(share)}">{count}</td>'
    )


def _place(metric: tuple[str, float]) -> int:
    """Order metrics as they are listed, the figure over all targets before those of each."""
    name, _, target = metric[0].partition(".")
    return list(METRICS).index(name) + (len(METRICS) if target else 0)


def _title(evaluation: Evaluation, name: str) -> str:
    metric, _, target = name.partition(".")
    title = METRICS[metric].title
    units = {part.unit for part in evaluation.residuals if target in {"", part.name}}
    unit = next(iter(units)) if len(units) == 1 and metric != "r2" else ""
    return title[0].upper() + title[1:] + (f", {target}" if target else "") + (f" ({unit})" if unit else "")


def _interval(evaluation: Evaluation, name: str) -> str:
    if (interval := evaluation.intervals.get(name)) is None:
        return ""
    return f"{shown_as(name)(interval[0])} to {shown_as(name)(interval[1])}"
