"""What is to be predicted: the columns, and what kind of answer they ask for."""

from typing import Literal

from msgspec import Struct

Task = Literal["classification", "regression", "reconstruction"]


class TargetSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one output of a model predicts.

    `target` names the column to predict; a regression may have several. `labels` fixes the order of a classification's labels;
    without it they are sorted.
    """

    task: Task = "classification"
    target: str | tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The target columns that the spec names."""
        named = (self.target,) if isinstance(self.target, str) else self.target
        return tuple(name for name in named if name)

    def __post_init__(self) -> None:
        """Match target and labels with the task."""
        if self.task == "reconstruction":
            self._require_absent("target", self.target, "the inputs themselves are the target")
        if self.task == "classification" and len(self.targets) > 1:
            raise ValueError(f"task 'classification' has {len(self.targets)} target columns; expected one")
        if twice := sorted({label for label in self.labels if self.labels.count(label) > 1}):
            raise ValueError(f"labels holds {twice[0]!r} twice; expected different ones")
        if self.task != "classification":
            self._require_absent("labels", self.labels, "only a classification has labels")

    def _require_absent(self, key: str, value: object, reason: str) -> None:
        if value:
            raise ValueError(f"{key} does not belong to task '{self.task}': {reason}")
