"""`[dataset]`: which data, what is to be predicted, and how the rows are divided."""

from typing import Literal

from msgspec import field

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
from training.spec.targets import TargetSpec, Task

__all__ = ["ColumnType", "DatasetSpec", "Task"]

ColumnType = Literal["number", "integer", "text"]

_WITHOUT_OWN_TARGET = (ArrowSource, CsvSource, FunctionSource, NpzSource, ParquetSource, RdatasetsSource)


class DatasetSpec(TargetSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data of a training run.

    `target` names the column (a regression may have several) to predict; sources with a target of their own need none, and where
    there are [outputs], each names its own. `drop` names columns that are no inputs. `types` says what a column must hold where the
    file could be read otherwise. `labels` fixes the order of the labels; without it they are sorted. `units` names columns' units
    of measure. Rows without a target are an error, or left out with `missing_target = "drop"`.
    """

    source: Source
    drop: tuple[str, ...] = ()
    types: dict[str, ColumnType] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    missing_target: Literal["error", "drop"] = "error"
    split: Split = RandomSplit()

    @property
    def lacks_target(self) -> bool:
        """Whether neither the spec nor the source says what is to be predicted."""
        return self.task != "reconstruction" and not self.targets and isinstance(self.source, _WITHOUT_OWN_TARGET)

    def __post_init__(self) -> None:
        """Keep target and dropped columns apart."""
        super().__post_init__()
        if both := sorted(set(self.drop) & set(self.targets)):
            raise ValueError(f"column '{both[0]}' is in both target and drop; expected one of them")
