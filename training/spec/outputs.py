"""`[outputs.<name>]`: the outputs of a model that has several; each has a target, a loss and thresholds of its own."""

from typing import Annotated

from msgspec import Meta

from training.spec.acceptance import Acceptance
from training.spec.fit import ClassWeights
from training.spec.layers import Output
from training.spec.losses import Loss, require_output_fits
from training.spec.scalars import Positive
from training.spec.targets import TargetSpec

OutputName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]


class OutputSpec(TargetSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One output: what it predicts, the activation of its last layer, its loss, and how good it must be.

    `activation` is softmax for a classification and linear for a regression, if it is not given. `weight` multiplies the loss in
    the sum that is minimised; a regression's loss counts there as a share of what always answering the mean would cost, so that
    no output drowns the others by its unit. `class_weights` are as at the top level.
    """

    loss: Loss
    activation: Output | None = None
    weight: Positive = 1.0
    class_weights: ClassWeights | None = None
    acceptance: Acceptance

    @property
    def head(self) -> Output:
        """The activation of the last layer."""
        return head_of(self, self.activation)

    def __post_init__(self) -> None:
        """Demand a target, and match the loss with the activation."""
        super().__post_init__()
        require_output_fits(self.loss, self.head, self, key="activation")


def head_of(wanted: TargetSpec, activation: Output | None) -> Output:
    """Return the activation of the last layer: the one that is given, or the usual one of the task."""
    return activation or ("softmax" if wanted.task == "classification" else "linear")
