"""What happened in a fit, epoch by epoch."""

from msgspec import Struct


class Epoch(Struct, frozen=True):
    """Metrics by name (`val_`: of the validation rows), wall time, and the learning rate reached at the end of an epoch."""

    metrics: dict[str, float]
    seconds: float
    learning_rate: float


class History(Struct, frozen=True, kw_only=True):
    """The epochs of a fit in order, also those before a resume.

    `best_epoch` counts from 1 and is None where no epoch's weights were restored; `resumed_from` is the number of whole epochs
    that the checkpoint held, None for a fit in one go. `input_share` is the share (0 to 1) of the fit's whole wall time in which
    batches were put together while the network waited; after a resume, of this process alone.
    """

    epochs: tuple[Epoch, ...]
    stopped_early: bool
    best_epoch: int | None = None
    resumed_from: int | None = None
    input_share: float = 0.0

    @property
    def ran(self) -> int:
        """Number of epochs."""
        return len(self.epochs)

    @property
    def fitted_before(self) -> bool:
        """Whether the checkpoint held every epoch, so that this process fitted nothing."""
        return self.resumed_from == self.ran

    @property
    def curves(self) -> dict[str, list[float]]:
        """Each metric's values by epoch."""
        return {name: [epoch.metrics[name] for epoch in self.epochs] for name in (self.epochs[0].metrics if self.epochs else ())}
