"""`[dataset.split]`: which rows are fitted, which steer the fit, and which judge the result. Fractions are of all rows."""

from msgspec import Struct

from training.spec.scalars import Share


class RandomSplit(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="random"):
    """At random, fixed by the seed.

    `stratified` gives every label its share of each part; a regression has none, and of several outputs the first with labels
    decides.
    """

    test_fraction: Share = 0.2
    validation_fraction: Share = 0.1
    stratified: bool = True

    def __post_init__(self) -> None:
        """Leave rows to fit."""
        _require_rest(self.test_fraction, self.validation_fraction)


class ColumnSplit(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="column"):
    """By the values of a column, which is no input of the model.

    With `validation` unset, `validation_fraction` of the training rows is taken at random for it, label by label.
    """

    column: str = "split"
    train: str = "train"
    validation: str | None = None
    test: str = "test"
    validation_fraction: Share = 0.1

    def __post_init__(self) -> None:
        """Keep the parts apart."""
        if self.train == self.test or self.validation in (self.train, self.test):
            raise ValueError("two of train, validation and test are the same value; expected three different ones")


class TimeSplit(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="time"):
    """By a column of times or numbers: the oldest rows are fitted, the newest are the test. Rows of one time stay together."""

    column: str
    test_fraction: Share = 0.2
    validation_fraction: Share = 0.1

    def __post_init__(self) -> None:
        """Leave rows to fit."""
        _require_rest(self.test_fraction, self.validation_fraction)


Split = RandomSplit | ColumnSplit | TimeSplit


def _require_rest(test: float, validation: float) -> None:
    if test + validation >= 1:
        raise ValueError(
            f"test_fraction + validation_fraction = {test + validation:g}; expected less than 1, so that rows are left to fit"
        )
