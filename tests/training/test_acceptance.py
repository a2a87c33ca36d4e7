from typing import Any

import msgspec
import numpy as np
import pytest

from service.repository.manifest import Manifest
from service.repository.metrics import METRICS
from service.repository.signature import Signature
from training.errors import AcceptanceFailed, DatasetError
from training.evaluation import Evaluation, Verdict, digest_rows, require_accepted, require_measurable
from training.spec.acceptance import Acceptance


def judged(found: Evaluation, demanded: Acceptance, *published: Manifest, **options: Any) -> Verdict:
    """Judge a model of one output."""
    return require_accepted({"y": found}, {"y": demanded}, *published, **options)


def evaluation(task: Any = "classification", **metrics: float) -> Evaluation:
    return Evaluation(task=task, rows=100, metrics=metrics, intervals={})


def published(*, test_sha256: str = "these rows", **metrics: float) -> Manifest:
    nothing = Signature(inputs=(), outputs=())
    facts = {"metrics": {"test": metrics}, "dataset": {"test_sha256": test_sha256}}
    return Manifest(name="m", version=4, created="", signature=nothing, files={}, **facts)


def test_every_threshold_is_of_a_known_metric() -> None:
    names = set(Acceptance.__struct_fields__) - {"never_worse_than_published"}

    assert names == METRICS.keys()


def test_no_threshold_is_refused_with_the_names() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"no threshold is given; expected at least one of accuracy, .*mae, rmse"):
        msgspec.convert({}, Acceptance)


def test_floors_and_ceilings_are_inclusive() -> None:
    verdict = judged(evaluation(accuracy=0.9, log_loss=0.3), Acceptance(accuracy=0.9, log_loss=0.3))

    assert verdict.facts == {
        "passed": True,
        "checks": [
            {"metric": "accuracy", "value": 0.9, "at_least": 0.9},
            {"metric": "log_loss", "value": 0.3, "at_most": 0.3},
        ],
    }


def test_each_miss_is_named() -> None:
    demanded = Acceptance(accuracy=0.95, macro_f1=0.5, log_loss=0.1)

    with pytest.raises(AcceptanceFailed) as caught:
        judged(evaluation(accuracy=0.9, macro_f1=0.9, log_loss=0.3), demanded)

    assert "test accuracy is 0.9000, expected at least 0.95; test log_loss is 0.3000, expected at most 0.1." in str(caught.value)
    assert "macro_f1" not in str(caught.value)


def test_metric_that_could_not_be_computed_misses() -> None:
    with pytest.raises(AcceptanceFailed, match=r"test roc_auc is not defined for these rows, expected at least 0\.8"):
        judged(evaluation(accuracy=1.0), Acceptance(roc_auc=0.8))


def test_forced_model_carries_it_in_its_facts() -> None:
    verdict = judged(evaluation(accuracy=0.5), Acceptance(accuracy=0.9), force=True)

    assert verdict.facts["forced"] is True
    assert verdict.facts["passed"] is False


def test_force_that_was_not_needed_leaves_no_trace() -> None:
    assert "forced" not in judged(evaluation(accuracy=0.95), Acceptance(accuracy=0.9), force=True).facts


@pytest.mark.parametrize(
    ("value", "metric", "task", "accepted"),
    [
        pytest.param(0.891, "accuracy", "classification", True, id="accuracy within one percent of 0.9"),
        pytest.param(0.890, "accuracy", "classification", False, id="accuracy below it"),
        pytest.param(0.909, "rmse", "regression", True, id="error within one percent above 0.9"),
        pytest.param(0.910, "rmse", "regression", False, id="error above it"),
    ],
)
def test_model_may_be_worse_than_the_published_one_by_the_margin(value: float, metric: str, task: str, *, accepted: bool) -> None:
    """Without a threshold it is the key metric of the task that counts."""
    found = evaluation(task, **{metric: value})
    demanded = Acceptance(never_worse_than_published=0.01)

    verdict = judged(found, demanded, published(**{metric: 0.9}), test_sha256="these rows", force=True)

    assert verdict.facts["passed"] is accepted
    assert verdict.facts["published_version"] == 4
    assert verdict.facts["checks"][0]["published"] == 0.9


def test_negative_r2_gets_its_margin_downwards() -> None:
    demanded = Acceptance(r2=-1, never_worse_than_published=0.1)

    verdict = judged(evaluation("regression", r2=-0.54), demanded, published(r2=-0.5), test_sha256="these rows")

    assert verdict.checks[1].bound == -0.55


def test_comparison_covers_the_metrics_with_a_threshold() -> None:
    demanded = Acceptance(log_loss=1, never_worse_than_published=0)
    before = published(log_loss=0.2, accuracy=0.99)

    with pytest.raises(
        AcceptanceFailed, match=r"log_loss is 0.2100, expected at most 0.2, because the published version has 0.2000"
    ):
        judged(evaluation(log_loss=0.21, accuracy=0.5), demanded, before, test_sha256="these rows")


def test_version_judged_by_other_rows_is_not_compared_and_the_verdict_says_so() -> None:
    demanded = Acceptance(never_worse_than_published=0)

    verdict = judged(evaluation(accuracy=0.1), demanded, published(test_sha256="others", accuracy=0.9), test_sha256="these")

    assert verdict.checks == ()
    assert verdict.facts["note"].startswith("Not compared with the published version 4")


def test_first_version_has_nothing_to_be_compared_with() -> None:
    verdict = judged(evaluation(accuracy=0.1), Acceptance(never_worse_than_published=0))

    assert verdict.facts == {"passed": True, "checks": [], "note": "No version is published yet to compare with."}


@pytest.mark.parametrize(
    ("demanded", "task", "labels", "named"),
    [
        pytest.param(
            Acceptance(rmse=1), "classification", 3, "acceptance.rmse .* classification with 3 labels", id="an error of classes"
        ),
        pytest.param(Acceptance(roc_auc=0.9), "classification", 3, "acceptance.roc_auc", id="ROC AUC of three labels"),
        pytest.param(Acceptance(top_5_accuracy=0.9), "classification", 5, "acceptance.top_5_accuracy", id="top 5 of five"),
        pytest.param(Acceptance(accuracy=0.9), "regression", 0, "Expected one of mae, rmse, r2", id="accuracy of numbers"),
        pytest.param(Acceptance(r2=0.9), "reconstruction", 0, "Expected one of mae, rmse", id="R2 of a reconstruction"),
    ],
)
def test_threshold_that_the_task_cannot_have_is_refused(demanded: Acceptance, task: Any, labels: int, named: str) -> None:
    with pytest.raises(DatasetError, match=named):
        require_measurable(demanded, task, labels)


def test_threshold_that_the_task_has_is_accepted() -> None:
    require_measurable(Acceptance(accuracy=0.9, roc_auc=0.8), "classification", 2)


def test_digest_tells_rows_apart_by_value_order_and_label() -> None:
    rows = {"age": np.array([1.0, np.nan]), "sex": np.array(["a", "b"], dtype=object)}
    digests = {
        digest_rows(rows, {"y": np.array([0, 1])}, [("x", "y")]),
        digest_rows(rows, {"y": np.array([1, 0])}, [("x", "y")]),
        digest_rows(rows, {"y": np.array([0, 1])}, [("y", "x")]),
        digest_rows(rows | {"sex": np.array(["a", "c"], dtype=object)}, {"y": np.array([0, 1])}, [("x", "y")]),
        digest_rows(rows | {"age": np.array([1.0, 2.0])}, {"y": np.array([0, 1])}, [("x", "y")]),
    }

    assert len(digests) == 5
    assert digest_rows(dict(reversed(rows.items())), {"y": np.array([0, 1])}, [("x", "y")]) in digests


def test_outputs_are_judged_each_by_its_own_thresholds() -> None:
    found = {"kind": evaluation(accuracy=0.9), "price": evaluation("regression", rmse=3.0)}

    with pytest.raises(AcceptanceFailed, match=r"publish: test rmse\.price is 3\.0000, expected at most 2\. "):
        require_accepted(found, {"kind": Acceptance(accuracy=0.8), "price": Acceptance(rmse=2.0)})


def test_outputs_are_compared_with_the_published_ones_of_their_names() -> None:
    found = {"kind": evaluation(accuracy=0.9), "price": evaluation("regression", rmse=3.0)}
    demanded = {name: Acceptance(never_worse_than_published=0.0) for name in found}
    before = published(**{"accuracy.kind": 0.8, "rmse.price": 2.0})

    verdict = require_accepted(found, demanded, before, test_sha256="these rows", force=True)

    assert [(check.metric, check.passed) for check in verdict.checks] == [("accuracy.kind", True), ("rmse.price", False)]
