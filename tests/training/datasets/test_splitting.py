import numpy as np
import pytest

from service.repository.signature import TensorSpec
from training.datasets import Dataset, Goal, Rows, Splits, split
from training.errors import DatasetError
from training.spec.splits import ColumnSplit, RandomSplit, TimeSplit


def counting(rows: int, labels: int = 2, keys: np.ndarray | None = None) -> Dataset:
    """Build a dataset whose row i holds the number i and the label i modulo `labels`."""
    return Dataset(
        name="counting",
        inputs=(TensorSpec(name="number", datatype="FP32", shape=(-1,)),),
        goals=(
            Goal(
                task="classification",
                output=TensorSpec(name="probabilities", datatype="FP32", shape=(-1, labels)),
                labels=tuple(str(label) for label in range(labels)),
            ),
        ),
        rows=Rows({"number": np.arange(rows, dtype=np.float32)}, {"probabilities": np.arange(rows) % labels}),
        split_keys=keys,
    )


def numbers(splits: Splits) -> list[set[int]]:
    return [set(rows.inputs["number"].astype(int)) for rows in (splits.train, splits.validation, splits.test)]


@pytest.mark.parametrize("stratified", [True, False], ids=["stratified", "not stratified"])
def test_every_row_is_in_exactly_one_split(*, stratified: bool) -> None:
    train, validation, test = numbers(split(counting(100), RandomSplit(stratified=stratified), seed=3))

    assert (len(train), len(validation), len(test)) == (70, 10, 20)
    assert train | validation | test == set(range(100))


def test_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    first, again, other = (numbers(split(counting(100), RandomSplit(), seed=seed)) for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_stratified_split_gives_each_label_its_share() -> None:
    splits = split(counting(230, labels=3), RandomSplit(), seed=7)

    for rows, share in ((splits.test, 0.2), (splits.validation, 0.1)):
        assert np.all(np.abs(np.bincount(rows.targets["probabilities"]) - np.array([77, 77, 76]) * share) <= 0.5)


def test_too_few_rows_for_the_fractions_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"The 2 rows of '0' are too few for test_fraction = 0.2"):
        split(counting(4), RandomSplit(), seed=1)


def test_column_decides_and_validation_comes_from_training_rows() -> None:
    keys = np.array(["fit"] * 80 + ["judge"] * 20, dtype=object)

    train, validation, test = numbers(split(counting(100, keys=keys), ColumnSplit(train="fit", test="judge"), seed=1))

    assert test == set(range(80, 100))
    assert len(validation) == 8
    assert train | validation == set(range(80))


def test_column_with_its_own_validation_value_is_followed() -> None:
    keys = np.array([0] * 50 + [1] * 30 + [2] * 20)

    splits = split(counting(100, keys=keys), ColumnSplit(train="0", validation="1", test="2"), seed=1)

    assert splits.sizes == {"train": 50, "validation": 30, "test": 20}


def test_unknown_value_of_the_split_column_is_refused() -> None:
    keys = np.array(["train", "test", "holdout", "train"], dtype=object)

    with pytest.raises(DatasetError, match=r"Column 'split' holds 'holdout'; expected one of test, train\."):
        split(counting(4, keys=keys), ColumnSplit(), seed=1)


def test_empty_split_is_refused() -> None:
    keys = np.array(["train"] * 40, dtype=object)

    with pytest.raises(DatasetError, match="The test split is empty; expected at least one row"):
        split(counting(40, keys=keys), ColumnSplit(), seed=1)


def test_newest_rows_are_the_test() -> None:
    times = np.array([f"2024-{1 + (index * 7) % 12:02d}-{1 + index % 28:02d}" for index in range(336)], dtype=object)
    dataset = counting(336, keys=times)

    train, validation, test = (times[sorted(indices)] for indices in numbers(split(dataset, TimeSplit(column="date"), seed=1)))

    assert max(train) < min(validation)
    assert max(validation) < min(test)
    assert len(test) == pytest.approx(0.2 * 336, abs=3)


def test_rows_of_one_moment_stay_together() -> None:
    """Weeks as times: no week is on both sides of a cut."""
    weeks = np.repeat(np.arange(10), 10)

    train, validation, test = numbers(split(counting(100, keys=weeks), TimeSplit(column="week", test_fraction=0.25), seed=1))

    assert {row // 10 for row in test} == {7, 8, 9}
    assert {row // 10 for row in validation} == {6}
    assert {row // 10 for row in train} == set(range(6))


def test_row_without_a_time_is_refused() -> None:
    with pytest.raises(DatasetError, match="Time column 'week' has no value in row 1; expected one in every row"):
        split(counting(3, keys=np.array([1.0, np.nan, 2.0])), TimeSplit(column="week"), seed=1)


def test_label_that_training_never_sees_is_refused() -> None:
    dataset = counting(40, labels=4, keys=np.array(["test" if index % 4 == 3 else "train" for index in range(40)], dtype=object))

    with pytest.raises(DatasetError, match="Label '3' is in the test split, but in no training row"):
        split(dataset, ColumnSplit(), seed=1)


def test_hash_follows_the_data() -> None:
    assert counting(10).sha256 == counting(10).sha256
    assert counting(10).sha256 != counting(11).sha256
    assert counting(10).sha256 != counting(10, labels=5).sha256
    assert counting(10).sha256 != counting(10, keys=np.arange(10)).sha256
