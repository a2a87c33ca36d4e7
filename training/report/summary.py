"""The run in words: how good, how sure, whether it may be published, whether the served graph is the trained one."""

from collections.abc import Callable, Iterator

from service.repository.metrics import metric_named
from training.evaluation.acceptance import Check, Verdict
from training.evaluation.result import Evaluation
from training.report.facts import ReportFacts
from training.report.markup import number, percent


def sentences(facts: ReportFacts) -> Iterator[str]:
    """Yield the paragraphs of the summary."""
    for name, answer in facts.named_answers.items():
        told = " ".join(text for text in _of_answer(answer.evaluation) if text) if name else ""
        yield from [f"Output “{name}”: {told}"] if name else _of_answer(answer.evaluation)
    yield verdict_in_words(facts.verdict)
    if facts.parity is not None:
        yield (
            "The ONNX graph that is served was compared with the Keras model that was trained: the largest difference is "
            f"{facts.parity.max_abs_error:.1e}, at most {facts.parity.tolerance:.0e} is allowed."
        )


def _of_answer(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.task == "classification":
        yield from _classification(evaluation)
    elif evaluation.task == "regression":
        yield from _regression(evaluation)
    else:
        yield (
            f"On {evaluation.rows:,} test rows, which the fit never saw, the reconstruction is off by "
            f"{figure(evaluation, 'rmse')} (root mean squared error)."
        )


def figure(evaluation: Evaluation, metric: str) -> str:
    """Say a metric with its interval."""
    value, interval = evaluation.metrics.get(metric), evaluation.intervals.get(metric)
    if value is None:
        return "not defined"
    shown = shown_as(metric)
    return shown(value) + (f" (95 % interval {shown(interval[0])} to {shown(interval[1])})" if interval else "")


def shown_as(metric: str) -> Callable[[float], str]:
    """Return how a metric is written: shares in percent."""
    return percent if metric.endswith("accuracy") else number


def verdict_in_words(verdict: Verdict) -> str:
    """Say what the gate found."""
    note = f" {verdict.note}" if verdict.note else ""
    if not verdict.checks:
        return f"No threshold applied.{note}"
    if not verdict.misses:
        return f"It passed the gate: {'; '.join(_passed(check) for check in verdict.checks)}.{note}"
    missed = "; ".join(str(check) for check in verdict.misses)
    return f"It did not pass the gate and was published by force: {missed}.{note}"


def _passed(check: Check) -> str:
    bound = f"{'at least' if check.at_least else 'at most'} {number(check.bound)}"
    because = "" if check.published is None else f" (the published version has {number(check.published)})"
    _, _, output = check.metric.partition(".")
    title = metric_named(check.metric).title + (f" of {output}" if output else "")
    return f"{title} {number(check.value or 0.0)}, {bound} demanded{because}"


def _classification(evaluation: Evaluation) -> Iterator[str]:
    most = max(evaluation.classes, key=lambda label: label.rows)
    yield (
        f"Of {evaluation.rows:,} test rows, which the fit never saw, it labels {figure(evaluation, 'accuracy')} rightly. "
        f"Always answering “{most.label}”, the most frequent label, would be right for {percent(most.rows / evaluation.rows)}."
    )
    details = []
    if worst := _worst_confusion(evaluation):
        count, actual, predicted, rows = worst
        details.append(f"Its most frequent mistake takes “{actual}” for “{predicted}”: {count} of {rows} rows.")
    if "calibration_error" in evaluation.metrics:
        error = evaluation.metrics["calibration_error"]
        details.append(f"Its probabilities are off by {percent(error)} on average from how often it is right.")
    yield " ".join(details)


def _worst_confusion(evaluation: Evaluation) -> tuple[int, str, str, int] | None:
    mistakes = [
        (count, evaluation.labels[i], evaluation.labels[j], evaluation.classes[i].rows)
        for i, row in enumerate(evaluation.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return max(mistakes, key=lambda mistake: mistake[0]) if mistakes else None


def _regression(evaluation: Evaluation) -> Iterator[str]:
    unit = evaluation.residuals[0].unit if len(evaluation.residuals) == 1 else ""
    explained = evaluation.metrics.get("r2")
    yield (
        f"On {evaluation.rows:,} test rows, which the fit never saw, a prediction is off by {figure(evaluation, 'mae')}"
        f"{f' {unit}' if unit else ''} on average."
        + ("" if explained is None else f" It explains {percent(max(explained, 0.0))} of the variance (R² {number(explained)}).")
    )
    if len(evaluation.residuals) == 1:
        spread = evaluation.residuals[0]
        said = f" {unit}" if unit else ""
        yield (
            f"Nine of ten errors lie between {number(spread.quantiles[5])} and {number(spread.quantiles[95])}{said}; "
            f"on average it predicts {number(abs(spread.mean))}{said} too {'much' if spread.mean > 0 else 'little'}."
        )
