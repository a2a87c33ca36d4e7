"""`[dataset]`: which data, what is to be predicted, and how the rows are divided."""

from typing import Literal

from msgspec import Struct

from training.spec.sources import (
    ArrowSource,
    CsvSource,
    FunctionSource,
    NpzSource,
    ParquetSource,
    RdatasetsSource,
    Source,
)
from training.spec.splits import RandomSplit, Split

Task = Literal["classification", "regression", "reconstruction"]
ColumnType = Literal["number", "integer", "text"]

_WITHOUT_OWN_TARGET = (ArrowSource, CsvSource, FunctionSource, NpzSource, ParquetSource, RdatasetsSource)


class DatasetSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data of a training run.

    `target` names the column (a regression may have several) to predict; sources with a target of their own need none.
    `drop` names columns that are no inputs. `types` says what a column must hold where the file could be read otherwise.
    `labels` fixes the order of the labels; without it they are sorted. `units` names columns' units of measure.
    Rows without a target are an error, or left out with `missing_target = "drop"`.
    """

    source: Source
    task: Task = "classification"
    target: str | tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    types: dict[str, ColumnType] = {}
    labels: tuple[str, ...] = ()
    units: dict[str, str] = {}
    missing_target: Literal["error", "drop"] = "error"
    split: Split = RandomSplit()

    @property
    def targets(self) -> tuple[str, ...]:
        """The target columns that the spec names."""
        named = (self.target,) if isinstance(self.target, str) else self.target
        return tuple(name for name in named if name)

    def __post_init__(self) -> None:
        """Match target, labels and units with the task."""
        if self.task == "reconstruction":
            self._require_absent("target", self.target, "the inputs themselves are the target")
        elif not self.targets and isinstance(self.source, _WITHOUT_OWN_TARGET):
            raise ValueError("key 'target' is missing; expected the name of the column to predict")
        if self.task == "classification" and len(self.targets) > 1:
            raise ValueError(f"task 'classification' has {len(self.targets)} target columns; expected one")
        if self.task != "classification":
            self._require_absent("labels", self.labels, "only a classification has labels")
        if both := sorted(set(self.drop) & set(self.targets)):
            raise ValueError(f"column '{both[0]}' is in both target and drop; expected one of them")

    def _require_absent(self, key: str, value: object, reason: str) -> None:
        if value:
            raise ValueError(f"{key} does not belong to task '{self.task}': {reason}")
