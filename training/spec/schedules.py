"""How the learning rate changes during the fit, `[schedule] kind = "cosine"`; optimizer.learning_rate is where it starts.

Times are in epochs, so that a schedule means the same whatever the batch size.
"""

from typing import Annotated

from msgspec import Meta, Struct

from training.spec.scalars import Count, Portion, Positive, Share

Monitor = Annotated[str, Meta(pattern=r"^(val_)?([A-Za-z]\w*_)?(loss|accuracy|mae|rmse)$")]


class Constant(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="constant"):
    """The learning rate stays as it is."""


class Exponential(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="exponential"):
    """Multiplied by `factor` every `epochs`: smoothly, or at once if `staircase`."""

    factor: Share
    epochs: Positive = 1.0
    staircase: bool = False


class Cosine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="cosine"):
    """Half a cosine down to `final` times the rate (Loshchilov and Hutter, 2016), after a linear warm-up from 0."""

    warmup_epochs: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    final: Portion = 0.0


class Piecewise(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="piecewise"):
    """The rate is multiplied by `factors[i]` from the start of epoch `after[i] + 1` on, counted from 1."""

    after: Annotated[tuple[Count, ...], Meta(min_length=1)]
    factors: Annotated[tuple[Positive, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        """Demand a factor an epoch, in order."""
        if len(self.after) != len(self.factors):
            raise ValueError(f"after has {len(self.after)} epochs and factors {len(self.factors)}; expected as many of each")
        if list(self.after) != sorted(set(self.after)):
            raise ValueError(f"after = {list(self.after)}; expected epochs in rising order")


class ReduceOnPlateau(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="reduce_on_plateau"):
    """Multiplied by `factor` after `patience` epochs in which `monitor` was not better by more than `min_delta`.

    `cooldown` epochs are waited after a reduction before counting again; the rate never falls below `minimum`.
    """

    monitor: Monitor = "val_loss"
    factor: Share = 0.5
    patience: Count = 5
    min_delta: Annotated[float, Meta(ge=0, le=1e6)] = 0.0001
    cooldown: Annotated[int, Meta(ge=0)] = 0
    minimum: Annotated[float, Meta(ge=0, le=1e6)] = 0.0


ScheduleSpec = Constant | Exponential | Cosine | Piecewise | ReduceOnPlateau
