"""Divide a dataset into rows to fit, to steer and to judge: fixed by the seed, the same on every machine."""

import numpy as np

from training.datasets.dataset import Array, Dataset, Splits
from training.errors import DatasetError
from training.spec import DatasetSpec


def split(dataset: Dataset, spec: DatasetSpec, *, seed: int) -> Splits:
    """Divide the rows at random. Stratified: each label gets its fractions, rounded to whole rows.

    Raises DatasetError if a split (stratified: a label's share of it) would be empty.
    """
    generator = np.random.default_rng(seed)
    targets = dataset.rows.targets
    groups = (
        {label: np.flatnonzero(targets == index) for index, label in enumerate(dataset.labels)}
        if spec.stratified
        else {"all": np.arange(len(targets))}
    )
    parts = [_cut(name, generator.permutation(rows), spec) for name, rows in groups.items()]
    train, validation, test = (generator.permutation(np.concatenate(pieces)) for pieces in zip(*parts, strict=True))
    rows = dataset.rows
    return Splits(train=rows.take(train), validation=rows.take(validation), test=rows.take(test))


def _cut(group: str, rows: Array, spec: DatasetSpec) -> tuple[Array, Array, Array]:
    """Cut shuffled row numbers into train, validation and test."""
    test = round(len(rows) * spec.test_fraction)
    validation = round(len(rows) * spec.validation_fraction)
    if min(test, validation, len(rows) - test - validation) < 1:
        raise DatasetError(
            f"The {len(rows)} rows of '{group}' are too few for test_fraction = {spec.test_fraction:g} and "
            f"validation_fraction = {spec.validation_fraction:g}; expected at least one row in each split. "
            "Change the fractions, or set stratified = false."
        )
    return rows[test + validation :], rows[test : test + validation], rows[:test]
