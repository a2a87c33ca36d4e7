"""What the plots of a report show, each a matplotlib figure by its name."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from training.evaluation.regression import columns
from training.evaluation.result import Evaluation
from training.report.facts import Answer, History, ReportFacts
from training.report.figures import FIRST, INK, LINE, SECOND, SOFT, figure

Array = np.ndarray[Any, Any]

_MOST_POINTS: Final = 1500
_MOST_PANELS: Final = 4
_ABBREVIATED: Final = ("mae", "mse", "rmse")


def plots(facts: ReportFacts) -> dict[str, Figure]:
    """Return the figures that suit the task: curves, and of each output confusion, calibration, residuals, see `plot_name`."""
    found: dict[str, Figure] = {}
    if facts.history.epochs:
        found["curves"] = curves(facts.history, [name for name in facts.named_answers if name])
    for name, answer in facts.named_answers.items():
        found |= {plot_name(kind, name): drawn for kind, drawn in _of_answer(answer).items()}
    return found


def plot_name(kind: str, output: str) -> str:
    """Return what a plot of one of several outputs is called; "" is the only output."""
    return f"{kind}-{output}" if output else kind


def _of_answer(answer: Answer) -> dict[str, Figure]:
    evaluation = answer.evaluation
    found: dict[str, Figure] = {}
    if evaluation.confusion:
        found["confusion"] = confusion(evaluation)
    if evaluation.calibration:
        found["calibration"] = calibration(evaluation)
    if evaluation.task == "regression":
        found["residuals"] = residuals(answer.outputs, answer.targets, evaluation)
    if evaluation.task == "reconstruction":
        found["residuals"] = row_errors(answer.outputs, answer.targets)
    return found


def curves(history: History, outputs: Sequence[str] = ()) -> Figure:
    """Loss, and the first other metric (of each of several outputs), by epoch, of the training and the validation rows."""
    names = [name for name in history.epochs[0].metrics if not name.startswith("val_") and name not in {"learning_rate", "lr"}]
    others = [[name for name in names if name.startswith(f"{output}_") and name != f"{output}_loss"] for output in outputs]
    names = ["loss", *(found[0] for found in others if found)] if outputs else sorted(names, key=lambda name: name != "loss")
    drawn, axes = figure(min(len(names), _MOST_PANELS if outputs else 2))
    for panel, name in zip(axes, names, strict=False):
        _curve(panel, history, name, outputs)
    axes[0].legend(loc="best")
    return drawn


def confusion(evaluation: Evaluation) -> Figure:
    """Share of each label's rows by what was predicted for them."""
    counts = np.asarray(evaluation.confusion, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawn, (panel,) = figure(1, width=5.2, height=4.6)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    panel.grid(visible=False)
    ticks = range(len(counts))
    panel.set_xticks(ticks, evaluation.labels, rotation=90 if max(map(len, evaluation.labels)) > 3 else 0)  # noqa: PLR2004 -- characters
    panel.set_yticks(ticks, evaluation.labels)
    panel.set(xlabel="predicted", ylabel="actual")
    if len(counts) <= 20:  # noqa: PLR2004 -- as many numbers as can be read
        for row, column in zip(*counts.nonzero(), strict=True):
            ink = "white" if shares[row, column] > 0.5 else INK  # noqa: PLR2004 -- where the blue is dark
            panel.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=7)
    return drawn


def calibration(evaluation: Evaluation) -> Figure:
    """How often a prediction is right, by how sure the model was; on the diagonal both are the same."""
    bins = evaluation.calibration
    drawn, (curve, bars) = figure(2)
    curve.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)), label="perfect")
    curve.plot(
        [part.confidence for part in bins], [part.accuracy for part in bins], color=FIRST, marker="o", markersize=4, label="model"
    )
    curve.set(
        title="Right, by how sure it was",
        xlabel="probability of the predicted label",
        ylabel="share right",
        xlim=(0, 1),
        ylim=(0, 1.03),
    )
    curve.legend(loc="upper left")
    bars.bar([part.low for part in bins], [part.rows for part in bins], width=0.09, align="edge", color=FIRST)
    bars.set(title="Rows", xlabel="probability of the predicted label", ylabel="rows", xlim=(0, 1))
    return drawn


def residuals(outputs: Array, targets: Array, evaluation: Evaluation) -> Figure:
    """Predicted against actual, and how the errors are spread; for the first target if there are several."""
    predicted, actual = columns(outputs)[:, 0], columns(targets)[:, 0]
    unit = evaluation.residuals[0].unit
    said = f" ({unit})" if unit else ""
    drawn, (scatter, spread) = figure(2, height=3.2)
    ends = [min(actual.min(), predicted.min()), max(actual.max(), predicted.max())]
    few = np.random.default_rng(0).permutation(len(actual))[:_MOST_POINTS]
    scatter.plot(ends, ends, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    scatter.scatter(actual[few], predicted[few], s=11, color=FIRST, alpha=0.55, linewidths=0)
    scatter.set(title=f"{evaluation.labels[0]}: predicted and actual", xlabel=f"actual{said}", ylabel=f"predicted{said}")
    _histogram(spread, predicted - actual)
    spread.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    spread.set(title="Errors", xlabel=f"predicted − actual{said}", ylabel="rows")  # noqa: RUF001 -- a minus sign
    return drawn


def row_errors(outputs: Array, targets: Array) -> Figure:
    """How the root mean squared error of a row is spread: what an anomaly is measured against."""
    errors = np.sqrt(((columns(outputs) - columns(targets)) ** 2).mean(axis=1))
    drawn, (panel,) = figure(1)
    _histogram(panel, errors)
    panel.set(title="Reconstruction error of a row", xlabel="root mean squared error", ylabel="rows")
    return drawn


def _curve(panel: Any, history: History, name: str, outputs: Sequence[str]) -> None:  # noqa: ANN401 -- matplotlib's Axes takes anything
    for key, label, colour in ((name, "training", FIRST), (f"val_{name}", "validation", SECOND)):
        points = [(number, epoch.metrics[key]) for number, epoch in enumerate(history.epochs, 1) if key in epoch.metrics]
        if points:
            panel.plot(*zip(*points, strict=True), color=colour, label=label, marker="o" if len(points) == 1 else None)
    if history.best_epoch is not None:
        panel.axvline(history.best_epoch, color=SOFT, linewidth=1, linestyle=(0, (4, 3)), label="weights kept")
    panel.set(title=_title(name, outputs), xlabel="epoch")
    panel.margins(x=0.02)


def _title(name: str, outputs: Sequence[str]) -> str:
    """Say a followed metric: of one of several outputs, `<output>_<metric>`."""
    output = next((output for output in outputs if name.startswith(f"{output}_")), "")
    metric = name.removeprefix(f"{output}_") if output else name
    said = metric.upper() if metric in _ABBREVIATED else metric.replace("_", " ")
    return f"{output}: {said}" if output else said[0].upper() + said[1:]


def _histogram(panel: Any, values: Array) -> None:  # noqa: ANN401 -- the same
    panel.hist(values, bins=min(30, max(8, round(len(values) ** 0.5))), color=FIRST, edgecolor=LINE, linewidth=0.4)
