import numpy as np
import pytest

from service.repository.signature import TensorSpec
from training.datasets import Dataset, Rows, Splits, load_dataset, split
from training.errors import DatasetError
from training.spec import DatasetSpec


def counting(rows: int, labels: int = 2) -> Dataset:
    """Build a dataset whose row i holds the number i."""
    return Dataset(
        name="counting",
        task="classification",
        inputs=(TensorSpec(name="number", datatype="FP32", shape=(-1, 1)),),
        labels=tuple(str(label) for label in range(labels)),
        rows=Rows({"number": np.arange(rows, dtype=np.float32)[:, None]}, np.arange(rows) % labels),
    )


def numbers(splits: Splits) -> list[set[int]]:
    return [set(rows.inputs["number"].ravel().astype(int)) for rows in (splits.train, splits.validation, splits.test)]


@pytest.mark.parametrize("stratified", [True, False], ids=["stratified", "not stratified"])
def test_every_row_is_in_exactly_one_split(*, stratified: bool) -> None:
    spec = DatasetSpec(name="digits", stratified=stratified)

    train, validation, test = numbers(split(counting(100), spec, seed=3))

    assert (len(train), len(validation), len(test)) == (70, 10, 20)
    assert train | validation | test == set(range(100))


def test_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    spec, dataset = DatasetSpec(name="digits"), counting(100)

    first, again, other = (numbers(split(dataset, spec, seed=seed)) for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_stratified_split_gives_each_label_its_share() -> None:
    dataset = load_dataset("digits")
    splits = split(dataset, DatasetSpec(name="digits"), seed=7)

    for rows, share in ((splits.test, 0.2), (splits.validation, 0.1)):
        counts = np.bincount(rows.targets)
        assert np.all(np.abs(counts - np.bincount(dataset.rows.targets) * share) <= 0.5)


def test_too_few_rows_for_the_fractions_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"The 2 rows of '0' are too few for test_fraction = 0.2"):
        split(counting(4), DatasetSpec(name="digits"), seed=1)


def test_digits_are_raw_scans_with_their_labels() -> None:
    dataset = load_dataset("digits")
    (tensor,) = dataset.inputs
    images = dataset.rows.inputs["image"]

    assert (tensor.name, tensor.datatype, tensor.shape, tensor.value_range) == ("image", "FP32", (-1, 8, 8), (0, 16))
    assert (images.shape, images.dtype, images.min(), images.max()) == ((1797, 8, 8), np.float32, 0, 16)
    assert dataset.labels == tuple("0123456789")


def test_hash_follows_the_data() -> None:
    assert counting(10).sha256 == counting(10).sha256
    assert counting(10).sha256 != counting(11).sha256
    assert counting(10).sha256 != counting(10, labels=5).sha256
