"""The gate between training and publishing: the thresholds of the spec, and the version that is published now."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from service.repository.manifest import Manifest
from service.repository.metrics import KEY_METRIC, METRICS, Task, metric_named
from training.errors import AcceptanceFailed, DatasetError
from training.evaluation.result import Evaluation, metric_of
from training.spec.acceptance import Acceptance


class Check(Struct, frozen=True):
    """One metric against one bound; `value` is None if it is not defined for the test rows.

    `metric` is named as in the manifest: that of one of several outputs has the output's name behind a dot. `published` is the
    figure of the published version that the bound was made from, None if it is a threshold of the spec.
    """

    metric: str
    value: float | None
    bound: float
    published: float | None = None

    @property
    def at_least(self) -> bool:
        """Whether the metric must reach the bound; else it must stay under it."""
        return metric_named(self.metric).higher_is_better

    @property
    def passed(self) -> bool:
        """Whether the metric is defined and on the good side of the bound."""
        if self.value is None:
            return False
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        """Say what was found and what was expected."""
        found = "is not defined for these rows" if self.value is None else f"is {self.value:.4f}"
        source = "" if self.published is None else f", because the published version has {self.published:.4f}"
        return f"test {self.metric} {found}, expected {'at least' if self.at_least else 'at most'} {self.bound:g}{source}"


class Verdict(Struct, frozen=True, kw_only=True):
    """What the gate found. `published_version` is the version compared with, None if there was none to compare with; `note` why."""

    checks: tuple[Check, ...]
    forced: bool = False
    published_version: int | None = None
    note: str = ""

    @property
    def misses(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says under `acceptance`; `forced` stands there only if a gate that failed was overridden."""
        facts: dict[str, Any] = {"passed": not self.misses, "checks": [_builtins(check) for check in self.checks]}
        if self.misses and self.forced:
            facts["forced"] = True
        if self.published_version is not None:
            facts["published_version"] = self.published_version
        return facts | ({"note": self.note} if self.note else {})


def require_measurable(acceptance: Acceptance, task: Task, labels: int, *, key: str = "acceptance") -> None:
    """Raise DatasetError, before anything is trained, if a threshold below `key` is for a metric that this task does not have."""
    measured = _metrics_of(task, labels)
    if unknown := [name for name in acceptance.thresholds if name not in measured]:
        what = f"classification with {labels} labels" if task == "classification" else task
        raise DatasetError(
            f"{key}.{unknown[0]} cannot be checked: {METRICS[unknown[0]].title} is not measured for {what}. "
            f"Expected one of {', '.join(measured)}."
        )


def require_accepted(
    evaluations: Mapping[str, Evaluation],
    demanded: Mapping[str, Acceptance],
    published: Manifest | None = None,
    *,
    test_sha256: str = "",
    force: bool = False,
) -> Verdict:
    """Check the metrics of the test rows, by output; `test_sha256` is the rows' digest, by which they are told from others.

    The version `published` now counts only if its manifest has the same digest (`dataset.test_sha256`); otherwise the verdict says
    that it could not be compared. Raises AcceptanceFailed, naming each miss, unless `force`.
    """
    checks: list[Check] = []
    version, note = None, ""
    for output, acceptance in demanded.items():
        found = _Found(evaluations[output], output if len(demanded) > 1 else "")
        checks += [found.check(name, bound) for name, bound in acceptance.thresholds.items()]
        if (margin := acceptance.never_worse_than_published) is not None:
            note = _why_not_comparable(published, test_sha256)
            if published is not None and not note:
                version = published.version
                checks += _against(published, found, tuple(acceptance.thresholds), margin)
    verdict = Verdict(checks=tuple(checks), forced=force, published_version=version, note=note)
    if verdict.misses and not force:
        raise AcceptanceFailed(str(check) for check in verdict.misses)
    return verdict


class _Found(Struct, frozen=True):
    """The metrics of one output; `output` is its name, "" of the only one."""

    evaluation: Evaluation
    output: str

    def check(self, name: str, bound: float, published: float | None = None) -> Check:
        """Compare a metric with a bound."""
        return Check(metric_of(name, self.output), self.evaluation.metrics.get(name), bound, published)


def _against(published: Manifest, found: _Found, names: tuple[str, ...], margin: float) -> Iterator[Check]:
    metrics = published.metrics.get("test", {})
    for name in names or (KEY_METRIC[found.evaluation.task],):
        if (before := metrics.get(metric_of(name, found.output))) is not None:
            slack = margin * abs(before)
            bound = before - slack if METRICS[name].higher_is_better else before + slack
            yield found.check(name, float(f"{bound:.6g}"), before)


def _why_not_comparable(published: Manifest | None, test_sha256: str) -> str:
    if published is None:
        return "No version is published yet to compare with."
    if published.dataset.get("test_sha256") != test_sha256:
        return (
            f"Not compared with the published version {published.version}: its metrics are of other test rows "
            "(another dataset, split or seed)."
        )
    return ""


def _metrics_of(task: Task, labels: int) -> tuple[str, ...]:
    if task == "classification":
        of_two = ("roc_auc", "pr_auc") if labels == 2 else ()  # noqa: PLR2004 -- two labels
        of_many = ("top_5_accuracy",) if labels > 5 else ()  # noqa: PLR2004 -- the five
        return ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", "calibration_error", *of_two, *of_many)
    return ("mae", "rmse", "r2", "median_absolute_error") if task == "regression" else ("mae", "rmse")


def _builtins(check: Check) -> dict[str, Any]:
    facts = {"metric": check.metric, "value": check.value, "at_least" if check.at_least else "at_most": check.bound}
    return facts if check.published is None else facts | {"published": check.published}
