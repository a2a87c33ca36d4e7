"""The page: one HTML file that needs nothing else, no script and no network."""

from collections.abc import Iterator, Mapping
from html import escape

from service.repository.description import readable_date, readable_size
from service.repository.manifest import Parity
from training.evaluation.acceptance import Verdict
from training.evaluation.result import Evaluation
from training.report import quality
from training.report.drawing import draw
from training.report.facts import ReportFacts
from training.report.markup import Markup, number, paragraph, picture, section, table
from training.report.plots import plot_name
from training.report.profiles import profiles
from training.report.style import STYLE
from training.report.summary import figure, sentences

_TILES = {
    "classification": ("accuracy", "macro_f1", "roc_auc", "log_loss"),
    "regression": ("mae", "rmse", "r2"),
    "reconstruction": ("rmse", "mae"),
}
_SHORT = {"macro_f1": "macro F1", "roc_auc": "ROC AUC", "log_loss": "log loss", "mae": "MAE", "rmse": "RMSE", "r2": "R²"}


def page(facts: ReportFacts, plots: Mapping[str, str]) -> str:
    """Return the report; `plots` are SVG elements by the names of training.report.plots."""
    name = escape(facts.name)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{name} – training report</title><style>{STYLE}</style></head>\n<body>"  # noqa: RUF001 -- a dash
        + "\n".join(_body(facts, plots))
        + "</body></html>\n"
    )


def _body(facts: ReportFacts, plots: Mapping[str, str]) -> Iterator[str]:
    yield f"<header><h1>{escape(facts.name)}</h1>{paragraph(facts.description)}"
    tasks = " and ".join(dict.fromkeys(answer.evaluation.task for answer in facts.answers)).capitalize()
    yield paragraph(f"Training report, {readable_date(facts.created)}. {tasks} on dataset “{facts.dataset['name']}”.", "soft")
    yield "</header>"
    style = "summary missed" if facts.verdict.misses else "summary"
    yield f'<div class="{style}">{"".join(paragraph(text) for text in sentences(facts) if text)}</div>'
    yield _tiles(facts)
    for name, answer in facts.named_answers.items():
        yield from _quality(answer.evaluation, facts.verdict, plots, name)
    yield _fit(facts, plots)
    yield _network(facts)
    yield section("Training data", profiles(facts.baseline, facts.signature.inputs, facts.signature.outputs))
    yield _served(facts)
    yield _reproduce(facts)


def _quality(evaluation: Evaluation, verdict: Verdict, plots: Mapping[str, str], output: str) -> Iterator[str]:
    yield quality.metrics(evaluation, verdict, output)
    yield quality.mistakes(evaluation, plots.get(plot_name("confusion", output), ""), output)
    yield quality.residuals(evaluation, plots.get(plot_name("residuals", output), ""), output)
    if (calibration := plots.get(plot_name("calibration", output))) is not None:
        caption = "Below the dashed line the model is surer than it is right, above it less sure."
        yield section(quality.titled("Calibration", output), picture(calibration, caption))
    yield quality.slices(evaluation, output)


def _tiles(facts: ReportFacts) -> str:
    tiles = [tile for name, answer in facts.named_answers.items() for tile in _figures(answer.evaluation, name)]
    tiles.append(("parameters", f"{facts.parameters:,}", readable_size(facts.graph_bytes) + " as ONNX"))
    if facts.history.epochs:
        total = sum(epoch.seconds for epoch in facts.history.epochs)
        tiles.append(("epochs", str(len(facts.history.epochs)), f"{total:.1f} s of fitting"))
    drawn = "".join(
        f'<div class="tile"><span>{escape(title)}</span><b>{escape(value)}</b><span>{escape(note)}</span></div>'
        for title, value, note in tiles
    )
    return f'<div class="tiles">{drawn}</div>'


def _figures(evaluation: Evaluation, output: str) -> Iterator[tuple[str, str, str]]:
    """Yield title, value and interval of the metrics that are shown first; of one of several outputs, two."""
    names = [name for name in _TILES[evaluation.task] if name in evaluation.metrics]
    for name in names[:2] if output else names:
        value, _, interval = figure(evaluation, name).partition(" (95 % interval ")
        title = _SHORT.get(name, name)
        yield (f"{output}: {title}" if output else title, value, interval.removesuffix(")"))


def _fit(facts: ReportFacts, plots: Mapping[str, str]) -> Markup:
    history = facts.history
    if not history.epochs:
        return Markup()
    said = [f"{len(history.epochs)} epochs"]
    if history.stopped_early:
        said[0] += ", ended by early stopping"
    if history.best_epoch is not None:
        said.append(f"the weights of epoch {history.best_epoch} were kept")
    if history.resumed_from is not None:
        said.append(f"resumed after epoch {history.resumed_from}")
    last = history.epochs[(history.best_epoch or len(history.epochs)) - 1]
    rows = [
        (name, number(value), number(last.metrics[f"val_{name}"]) if f"val_{name}" in last.metrics else "")
        for name, value in last.metrics.items()
        if not name.startswith("val_")
    ]
    return section(
        "Fit",
        paragraph("; ".join(said) + "."),
        picture(plots["curves"], _about_curves(facts)),
        table(("in the epoch kept", "training", "validation"), rows, numbers=(1, 2)),
    )


def _about_curves(facts: ReportFacts) -> str:
    if any(layer.kind.endswith("Dropout") for layer in facts.layers):
        return "The cost by epoch. Dropout is active for the training rows only, so their curve can be the worse one."
    return "The cost by epoch."


def _network(facts: ReportFacts) -> Markup:
    said = f"{facts.parameters:,} parameters. Each box is a layer, with the shape of its output for one row."
    steps = table(("column", "preprocessing inside the graph"), facts.preprocessing.items(), wide=1) if facts.preprocessing else ""
    return section("Architecture", paragraph(said, "soft"), steps, Markup(draw(facts.layers)))


def _served(facts: ReportFacts) -> Markup:
    signature = facts.signature
    tensors = [
        (kind, spec.name, spec.datatype, str(list(spec.shape)), spec.description)
        for kind, specs in (("input", signature.inputs), ("output", signature.outputs))
        for spec in specs
    ]
    parts = [table(("", "name", "datatype", "shape", "meaning"), tensors, wide=4)]
    if facts.parity is not None:
        parts.append(paragraph(_parity(facts.parity, facts.opset)))
    if facts.latency:
        rows = [
            (f"{size:,}", f"{milliseconds:.3f}", f"{size / milliseconds * 1000:,.0f}")
            for size, milliseconds in facts.latency.items()
        ]
        parts.append(table(("rows in a batch", "ms", "rows a second"), rows, numbers=(0, 1, 2)))
    if facts.seconds:
        steps = [(step, f"{seconds:.2f}") for step, seconds in facts.seconds.items()]
        parts.append(table(("step of the run", "seconds"), steps, numbers=(1,)))
    return section("What is served", *parts)


def _parity(parity: Parity, opset: int) -> str:
    sizes = ", ".join(str(size) for size in parity.batch_sizes)
    text = (
        f"Parity: the ONNX graph (opset {opset}) was run in onnxruntime beside the Keras model, in batches of {sizes} rows, "
        f"edge values among them. Largest difference {parity.max_abs_error:.2e}, allowed {parity.tolerance:.0e}."
    )
    if parity.batch_invariance is None:
        return text
    return f"{text} A row alone and the same row in a batch differ by at most {parity.batch_invariance:.2e}."


def _reproduce(facts: ReportFacts) -> Markup:
    splits = facts.dataset.get("splits", {})
    facts_of_data = [
        ("dataset", facts.dataset["name"]),
        (
            "rows",
            f"{facts.dataset['rows']:,}"
            + (f" ({', '.join(f'{size:,} {name}' for name, size in splits.items())})" if splits else ""),
        ),
        ("SHA-256 of the data", Markup(f"<code>{escape(str(facts.dataset['sha256']))}</code>")),
        ("seed", facts.seed),
        *facts.tools.items(),
    ]
    return section(
        "How to reproduce",
        paragraph("The same spec on the same data with the same versions gives the same model."),
        Markup(f'<pre class="command">{escape(facts.command)}</pre>'),
        table(("", ""), facts_of_data, wide=1),
        Markup(f"<h3>The spec</h3><pre>{escape(facts.spec_text.strip())}</pre>"),
    )
