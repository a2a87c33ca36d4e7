"""The keys of a spec that say how the network is fitted: loss, optimizer, schedule, epochs, batches, early stopping, logs."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from training.spec.losses import Loss
from training.spec.optimizers import OptimizerSpec
from training.spec.scalars import Count, Positive
from training.spec.schedules import Constant, Cosine, Monitor, ReduceOnPlateau, ScheduleSpec

Precision = Literal["float32", "mixed_float16"]
ClassWeights = Literal["balanced"] | dict[str, Positive]


class EarlyStopping(Struct, frozen=True, forbid_unknown_fields=True):
    """Stop after `patience` epochs in which `monitor` was not better by more than `min_delta`.

    With `restore_best` the model goes back to the weights of its best epoch, at the end of every fit, stopped early or not.
    """

    monitor: Monitor = "val_loss"
    patience: Count = 10
    min_delta: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    restore_best: bool = True


class FitSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the network is fitted. These keys stand at the top level of a spec file.

    `class_weights` multiplies each row's loss: by "balanced", so that every label weighs the same in all, or by a number for each
    label by name. `precision` "mixed_float16" computes in half precision on a GPU; the published model is float32 all the same.
    `tensorboard` writes logs for TensorBoard beside metrics.csv in the run's directory.
    """

    epochs: Count
    batch_size: Count
    loss: Loss | None = None
    optimizer: OptimizerSpec
    schedule: ScheduleSpec = Constant()
    early_stopping: EarlyStopping | None = None
    class_weights: ClassWeights | None = None
    precision: Precision = "float32"
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Match the schedule with the epochs and the optimizer."""
        schedule = self.schedule
        if isinstance(schedule, Cosine) and schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs = {schedule.warmup_epochs:g} leaves nothing of epochs = {self.epochs}; expected less"
            )
        if isinstance(schedule, ReduceOnPlateau) and schedule.minimum >= self.optimizer.learning_rate:
            raise ValueError(
                f"schedule.minimum = {schedule.minimum:g} is not below optimizer.learning_rate = {self.optimizer.learning_rate:g}; "
                "expected less"
            )
