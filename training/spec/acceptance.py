"""`[acceptance]`: how good a model must be to be published."""

from typing import Annotated

from msgspec import Meta, Struct

from training.spec.scalars import Portion, Positive

InUnits = Annotated[float, Meta(gt=0, le=1e300)]  # a target may be counted in anything


class Acceptance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Thresholds for the metrics of the test rows, by their names in the manifest.

    At least: accuracy, balanced_accuracy, macro_f1, roc_auc, pr_auc, top_5_accuracy, r2. At most: log_loss (nats), brier,
    calibration_error, and in the target's unit mae, rmse, median_absolute_error.

    `never_worse_than_published` is the share of a metric's published value by which it may be worse than that: 0 allows
    nothing, 0.01 one percent. It holds for the metrics with a threshold, or for the task's key metric if there is none.
    """

    accuracy: Portion | None = None
    balanced_accuracy: Portion | None = None
    macro_f1: Portion | None = None
    roc_auc: Portion | None = None
    pr_auc: Portion | None = None
    top_5_accuracy: Portion | None = None
    r2: Annotated[float, Meta(le=1)] | None = None
    log_loss: Positive | None = None
    brier: Positive | None = None
    calibration_error: Positive | None = None
    mae: InUnits | None = None
    rmse: InUnits | None = None
    median_absolute_error: InUnits | None = None
    never_worse_than_published: Portion | None = None

    def __post_init__(self) -> None:
        """Demand a threshold: a gate that lets everything through is none."""
        if not self.thresholds and self.never_worse_than_published is None:
            names = [name for name in self.__struct_fields__ if name != "never_worse_than_published"]
            raise ValueError(
                f"no threshold is given; expected at least one of {', '.join(names)}, or never_worse_than_published = 0.01"
            )

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds that are given, by metric name; which way each one points is in service.repository.metrics."""
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name != "never_worse_than_published"}
        return {name: bound for name, bound in given.items() if bound is not None}
