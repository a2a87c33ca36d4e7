import time

import numpy as np
import pytest

from training.errors import DatasetError
from training.evaluation import evaluate

reference = pytest.importorskip("sklearn.metrics", reason="needs the train extra")


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def draw(generator: np.random.Generator, rows: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw probabilities, some of them tied, and targets that follow them."""
    probabilities = generator.dirichlet(np.full(labels, 0.7), rows)
    probabilities[: rows // 4] = 1 / labels
    cumulated = probabilities.cumsum(axis=1)
    targets = (generator.random((rows, 1)) > cumulated).sum(axis=1).clip(max=labels - 1)
    return probabilities, targets


@pytest.mark.parametrize("labels", [2, 3, 10])
def test_classification_metrics_are_those_of_scikit_learn(labels: int, generator: np.random.Generator) -> None:
    probabilities, targets = draw(generator, 400, labels)
    predicted = probabilities.argmax(axis=1)

    metrics = evaluate("classification", probabilities, targets, seed=1).metrics

    assert metrics["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted), rel=1e-5)
    assert metrics["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(targets, predicted), rel=1e-5)
    assert metrics["macro_f1"] == pytest.approx(reference.f1_score(targets, predicted, average="macro"), rel=1e-5)
    assert metrics["log_loss"] == pytest.approx(reference.log_loss(targets, probabilities), rel=1e-5)
    scale = {"scale_by_half": False} if labels > 2 else {}
    brier = reference.brier_score_loss(targets, probabilities if labels > 2 else probabilities[:, 1], **scale)
    assert metrics["brier"] == pytest.approx(brier, rel=1e-5)


def test_areas_under_the_curves_are_those_of_scikit_learn_with_ties(generator: np.random.Generator) -> None:
    probabilities, targets = draw(generator, 400, 2)

    metrics = evaluate("classification", probabilities, targets, seed=1).metrics

    assert metrics["roc_auc"] == pytest.approx(reference.roc_auc_score(targets, probabilities[:, 1]), rel=1e-5)
    assert metrics["pr_auc"] == pytest.approx(reference.average_precision_score(targets, probabilities[:, 1]), rel=1e-5)


def test_top_5_is_measured_from_six_labels_on(generator: np.random.Generator) -> None:
    five, six = (evaluate("classification", *draw(generator, 200, labels), seed=1).metrics for labels in (5, 6))

    assert "top_5_accuracy" not in five
    assert six["accuracy"] < six["top_5_accuracy"] < 1


def test_top_5_is_that_of_scikit_learn(generator: np.random.Generator) -> None:
    probabilities = generator.dirichlet(np.ones(9), 300)
    targets = generator.integers(9, size=300)

    found = evaluate("classification", probabilities, targets, seed=1).metrics["top_5_accuracy"]

    assert found == pytest.approx(reference.top_k_accuracy_score(targets, probabilities, k=5), rel=1e-5)


def test_single_sigmoid_output_is_the_probability_of_the_second_label() -> None:
    evaluation = evaluate("classification", np.array([[0.9], [0.2], [0.6]]), np.array([1, 0, 0]), labels=("no", "yes"), seed=1)

    assert evaluation.metrics["accuracy"] == pytest.approx(2 / 3, rel=1e-5)
    assert evaluation.confusion == ((1, 1), (0, 1))


def test_confusion_counts_actual_by_predicted() -> None:
    evaluation = evaluate("classification", np.eye(3)[[0, 0, 1, 2]], np.array([0, 1, 1, 2]), labels=("a", "b", "c"), seed=1)

    assert evaluation.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))
    assert [(part.label, part.rows, part.precision, part.recall) for part in evaluation.classes] == [
        ("a", 1, 0.5, 1.0), ("b", 2, 1.0, 0.5), ("c", 1, 1.0, 1.0),
    ]  # fmt: skip


def test_metric_that_is_not_defined_is_left_out() -> None:
    """With rows of one class only there is no ROC curve; a manifest must not hold NaN, which is no JSON."""
    evaluation = evaluate("classification", np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([1, 1]), seed=1)

    assert evaluation.metrics["accuracy"] == 0.5
    assert "roc_auc" not in evaluation.metrics
    assert evaluation.metrics.keys() == evaluation.intervals.keys()


def test_calibration_error_weighs_the_gaps_by_rows() -> None:
    """Ten rows at 0.95, nine of them right: off by 0.05. Ten at 0.55, all right: off by 0.45."""
    confidence = np.r_[np.full(10, 0.95), np.full(10, 0.55)]
    targets = np.r_[np.zeros(9, int), 1, np.zeros(10, int)]

    evaluation = evaluate("classification", np.stack([confidence, 1 - confidence], axis=1), targets, seed=1)

    assert evaluation.metrics["calibration_error"] == pytest.approx(0.25)
    assert [(part.low, part.rows, part.accuracy) for part in evaluation.calibration] == [(0.5, 10, 1.0), (0.9, 10, 0.9)]


@pytest.mark.parametrize("rows", [5, 6])
def test_regression_metrics_are_those_of_scikit_learn(rows: int, generator: np.random.Generator) -> None:
    actual = generator.normal(100, 20, rows)
    predicted = actual + generator.normal(2, 5, rows)

    metrics = evaluate("regression", predicted[:, None], actual, seed=1).metrics

    assert metrics["mae"] == pytest.approx(reference.mean_absolute_error(actual, predicted), rel=1e-5)
    assert metrics["rmse"] == pytest.approx(reference.root_mean_squared_error(actual, predicted), rel=1e-5)
    assert metrics["r2"] == pytest.approx(reference.r2_score(actual, predicted), rel=1e-4)
    assert metrics["median_absolute_error"] == pytest.approx(reference.median_absolute_error(actual, predicted), rel=1e-5)


def test_several_targets_have_their_own_metrics_and_their_mean(generator: np.random.Generator) -> None:
    actual = generator.normal(size=(50, 2))

    evaluation = evaluate("regression", actual + np.array([1.0, 3.0]), actual, labels=("x", "y"), units=("m", "s"), seed=1)

    assert (evaluation.metrics["mae.x"], evaluation.metrics["mae.y"], evaluation.metrics["mae"]) == (1.0, 3.0, 2.0)
    assert [(part.name, part.unit, part.mean) for part in evaluation.residuals] == [("x", "m", 1.0), ("y", "s", 3.0)]


def test_residual_quantiles_are_of_predicted_minus_actual() -> None:
    evaluation = evaluate("regression", np.arange(101.0), np.zeros(101), seed=1)

    assert evaluation.residuals[0].quantiles == {1: 1.0, 5: 5.0, 25: 25.0, 50: 50.0, 75: 75.0, 95: 95.0, 99: 99.0}


def test_reconstruction_error_is_over_all_values() -> None:
    originals = np.zeros((4, 2, 2))

    evaluation = evaluate("reconstruction", originals + 3.0, originals, seed=1)

    assert evaluation.metrics == {"mae": 3.0, "rmse": 3.0}


def test_interval_of_a_share_is_that_of_the_binomial(generator: np.random.Generator) -> None:
    """The bootstrap distribution of accuracy is binomial, so its quantiles are known: 0.8 +- 1.96 sqrt(0.16 / 400)."""
    outputs = np.eye(2)[(generator.permutation(400) < 320).astype(int)]

    low, high = evaluate("classification", outputs, np.ones(400, int), seed=3).intervals["accuracy"]

    assert low == pytest.approx(0.8 - 0.0392, abs=0.006)
    assert high == pytest.approx(0.8 + 0.0392, abs=0.006)


def test_interval_holds_the_truth_nineteen_times_in_twenty(generator: np.random.Generator) -> None:
    held = 0
    for number in range(60):
        error = generator.normal(0, 1, 120)
        low, high = evaluate("regression", error, np.zeros(120), seed=number).intervals["rmse"]
        held += low <= 1 <= high

    assert held >= 51


def test_same_seed_gives_the_same_intervals(generator: np.random.Generator) -> None:
    probabilities, targets = draw(generator, 100, 3)

    first, second, other = (evaluate("classification", probabilities, targets, seed=seed).intervals for seed in (1, 1, 2))

    assert first == second
    assert first != other


def test_ten_thousand_rows_take_seconds_at_most(generator: np.random.Generator) -> None:
    probabilities, targets = draw(generator, 10_000, 10)

    started = time.perf_counter()
    evaluate("classification", probabilities, targets, seed=1)

    assert time.perf_counter() - started < 10


def test_worst_slice_comes_first_and_is_marked() -> None:
    sex = np.array(["male"] * 60 + ["female"] * 60 + [""] * 20, dtype=object)
    hits = np.r_[np.ones(60), np.zeros(45), np.ones(35)].astype(int)

    found = evaluate("classification", np.eye(2)[hits], np.ones(140, int), inputs={"sex": sex}, seed=1).slices

    assert [(part.value, part.rows, part.figure, part.worse) for part in found.rows] == [
        ("female", 60, 0.25, True), ("male", 60, 1.0, False), ("missing", 20, 1.0, False),
    ]  # fmt: skip
    assert found.metric == "accuracy"


def test_numbers_are_sliced_by_quartile_and_missing_ones_apart() -> None:
    age = np.r_[np.arange(100.0), np.full(12, np.nan)]
    error = np.r_[np.full(75, 1.0), np.full(25, 5.0), np.full(12, 2.0)]

    found = evaluate("regression", error, np.zeros(112), inputs={"age": age}, seed=1).slices

    assert [(part.value, part.rows, part.figure) for part in found.rows] == [
        ("74.25 to 99", 25, 5.0), ("missing", 12, 2.0),
        ("0 to 24.75", 25, 1.0), ("24.75 to 49.5", 25, 1.0), ("49.5 to 74.25", 25, 1.0),
    ]  # fmt: skip


def test_columns_of_a_matrix_are_sliced_by_their_names(generator: np.random.Generator) -> None:
    rows = generator.normal(size=(80, 2))
    few = evaluate("regression", rows[:, 0], rows[:, 1], inputs={"x": rows}, features={"x": ("height", "weight")}, seed=1).slices

    assert {part.feature for part in few.rows} == {"height", "weight"}


def test_pictures_are_sliced_by_their_mean_and_tokens_by_their_length(generator: np.random.Generator) -> None:
    inputs = {"image": generator.random((60, 4, 4, 1)), "text": generator.integers(0, 2, (60, 30))}

    found = evaluate("regression", np.zeros(60), generator.random(60), inputs=inputs, seed=1).slices

    assert {part.feature for part in found.rows} == {"mean of image", "length of text"}


def test_slice_of_few_rows_is_not_judged() -> None:
    rare = np.array(["rare"] * 9 + ["often"] * 51, dtype=object)

    found = evaluate("regression", np.ones(60), np.zeros(60), inputs={"word": rare}, seed=1).slices

    assert [part.value for part in found.rows] == ["often"]


def test_no_rows_are_refused() -> None:
    with pytest.raises(DatasetError, match="There are no rows to evaluate"):
        evaluate("regression", np.zeros(0), np.zeros(0), seed=1)
