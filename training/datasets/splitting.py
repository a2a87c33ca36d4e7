"""Divide a dataset into rows to fit, to steer and to judge: fixed by the seed, the same on every machine."""

import numpy as np

from training.datasets.dataset import Array, Dataset, Goal, Splits
from training.errors import DatasetError
from training.spec.splits import ColumnSplit, RandomSplit, Split, TimeSplit

Parts = tuple[Array, Array, Array]  # row numbers: train, validation, test


def split(dataset: Dataset, spec: Split, *, seed: int) -> Splits:
    """Divide the rows as `spec` says. Raises DatasetError if a part would be empty, or holds a label that training does not."""
    generator = np.random.default_rng(seed)
    if isinstance(spec, RandomSplit):
        parts = _at_random(dataset, spec, generator)
    elif isinstance(spec, ColumnSplit):
        parts = _by_column(dataset, spec, generator)
    else:
        parts = _by_time(dataset, spec, generator)
    for name, indices in zip(("train", "validation", "test"), parts, strict=True):
        if not len(indices):
            raise DatasetError(f"The {name} split is empty; expected at least one row. Change dataset.split.")
    _require_known_labels(dataset, parts)
    train, validation, test = (dataset.rows.take(indices) for indices in parts)
    return Splits(train=train, validation=validation, test=test)


def _at_random(dataset: Dataset, spec: RandomSplit, generator: np.random.Generator) -> Parts:
    rows = np.arange(len(dataset.rows))
    parts = [_cut(name, generator.permutation(group), spec) for name, group in _groups(dataset, rows, stratified=spec.stratified)]
    train, validation, test = (generator.permutation(np.concatenate(pieces)) for pieces in zip(*parts, strict=True))
    return train, validation, test


def _by_column(dataset: Dataset, spec: ColumnSplit, generator: np.random.Generator) -> Parts:
    keys = np.array([str(key) for key in _keys(dataset)], dtype=object)
    known = {value for value in (spec.train, spec.validation, spec.test) if value is not None}
    if unknown := sorted(set(keys) - known):
        raise DatasetError(
            f"Column '{spec.column}' holds '{unknown[0]}'; expected one of {', '.join(sorted(known))}. "
            "Set dataset.split.train, validation and test to the values that stand for them."
        )
    train, test = np.flatnonzero(keys == spec.train), np.flatnonzero(keys == spec.test)
    if spec.validation is not None:
        return generator.permutation(train), np.flatnonzero(keys == spec.validation), test
    kept, held = [], []
    for _, group in _groups(dataset, train, stratified=True):
        shuffled = generator.permutation(group)
        count = round(len(group) * spec.validation_fraction)
        held.append(shuffled[:count])
        kept.append(shuffled[count:])
    return generator.permutation(np.concatenate(kept)), generator.permutation(np.concatenate(held)), test


def _by_time(dataset: Dataset, spec: TimeSplit, generator: np.random.Generator) -> Parts:
    """Cut at two moments; rows of one moment are never on both sides of a cut."""
    keys = _keys(dataset)
    missing = keys == "" if keys.dtype == object else np.isnan(keys.astype(np.float64))
    if missing.any():
        raise DatasetError(f"Time column '{spec.column}' has no value in row {missing.argmax()}; expected one in every row.")
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    last = len(ordered) - 1
    from_test = ordered[min(last, round(len(ordered) * (1 - spec.test_fraction)))]
    from_validation = ordered[min(last, round(len(ordered) * (1 - spec.test_fraction - spec.validation_fraction)))]
    first_test = int(np.searchsorted(ordered, from_test, side="left"))
    first_validation = int(np.searchsorted(ordered, from_validation, side="left"))
    train = generator.permutation(order[:first_validation])
    return train, order[first_validation:first_test], order[first_test:]


def _groups(dataset: Dataset, rows: Array, *, stratified: bool) -> list[tuple[str, Array]]:
    """Return `rows` by label, of the first of several outputs that has labels; or all together."""
    goal = next((goal for goal in dataset.goals if goal.task == "classification"), None)
    if not stratified or goal is None:
        return [(dataset.name, rows)]
    targets = dataset.rows.targets[goal.output.name][rows]
    groups = [(label, rows[targets == index]) for index, label in enumerate(goal.labels)]
    return [(label, group) for label, group in groups if len(group)]


def _cut(group: str, rows: Array, spec: RandomSplit) -> Parts:
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


def _keys(dataset: Dataset) -> Array:
    if dataset.split_keys is None:
        raise DatasetError(f"{dataset.name} was read without the column that divides it; expected dataset.split.column.")
    return dataset.split_keys


def _require_known_labels(dataset: Dataset, parts: Parts) -> None:
    for goal in dataset.goals:
        if goal.task == "classification":
            _require_known(goal, [np.unique(dataset.rows.targets[goal.output.name][indices]) for indices in parts])


def _require_known(goal: Goal, present: list[Array]) -> None:
    """Raise DatasetError if the validation or the test has a label that training lacks."""
    train, validation, test = present
    for name, found in (("validation", validation), ("test", test)):
        unseen = np.setdiff1d(found, train)
        if len(unseen):
            raise DatasetError(
                f"Label '{goal.labels[unseen[0]]}' is in the {name} split, but in no training row; expected every label in "
                "training. Divide otherwise (random, stratified), or leave its rows out."
            )
