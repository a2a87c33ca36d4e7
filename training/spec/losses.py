"""The losses of a spec file: `loss = "mse"`, or a table where one has options: `[loss] name = "huber", delta = 2.0`."""

from typing import Final, Literal

from msgspec import Struct

from training.spec.architecture import Output
from training.spec.scalars import Decay, Positive
from training.spec.targets import TargetSpec

LossName = Literal[
    "binary_crossentropy", "categorical_crossentropy", "huber", "kl_divergence", "log_cosh", "mae", "mse", "poisson",
    "sparse_categorical_crossentropy",
]  # fmt: skip

# What a loss asks of the output: probabilities that sum to 1, one probability a label, a positive number, or any number.
_NUMBERS: Final[tuple[Output, ...]] = ("linear", "tanh", "softplus", "exponential", "sigmoid")
OUTPUTS_OF: Final[dict[LossName, tuple[Output, ...]]] = {
    "binary_crossentropy": ("sigmoid",),
    "categorical_crossentropy": ("softmax",),
    "huber": _NUMBERS,
    "kl_divergence": ("softmax",),
    "log_cosh": _NUMBERS,
    "mae": _NUMBERS,
    "mse": (*_NUMBERS, "softmax"),
    "poisson": ("exponential", "softplus"),
    "sparse_categorical_crossentropy": ("softmax",),
}
# The losses of labels; mse (the Brier score) serves both kinds of target.
CLASSIFYING: Final[frozenset[LossName]] = frozenset(
    {"binary_crossentropy", "categorical_crossentropy", "kl_divergence", "mse", "sparse_categorical_crossentropy"}
)
# The losses of numbers. Binary cross-entropy also compares values of 0..1, as an autoencoder's pixels.
MEASURING: Final[frozenset[LossName]] = frozenset({"binary_crossentropy", "huber", "log_cosh", "mae", "mse", "poisson"})


class Huber(Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="huber"):
    """Squared for errors up to `delta` (in the target's unit), linear beyond (Huber, 1964)."""

    delta: Positive = 1.0


class BinaryCrossentropy(Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="binary_crossentropy"):
    """Log loss of independent probabilities; smoothing moves the targets 0 and 1 towards 0.5."""

    label_smoothing: Decay = 0.0


class CategoricalCrossentropy(Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="categorical_crossentropy"):
    """Log loss of a distribution, on one-hot targets; smoothing spreads that share of each target over all labels."""

    label_smoothing: Decay = 0.0


class SparseCategoricalCrossentropy(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="sparse_categorical_crossentropy"
):
    """The same on label indices: less memory when there are many labels."""

    label_smoothing: Decay = 0.0


Loss = LossName | Huber | BinaryCrossentropy | CategoricalCrossentropy | SparseCategoricalCrossentropy


def loss_name(loss: Loss) -> LossName:
    """Return the name of a loss, whichever way it is written."""
    if isinstance(loss, str):
        return loss
    name: LossName = loss.__struct_config__.tag  # type: ignore[assignment]  # the tags are among the names
    return name


def require_output_fits(loss: Loss, output: Output, wanted: TargetSpec, *, key: str = "architecture.output") -> None:
    """Raise ValueError if the activation of the last layer, which stands at `key`, does not give what loss and task compare."""
    expected = OUTPUTS_OF[loss_name(loss)]
    if output not in expected:
        raise ValueError(
            f"loss '{loss_name(loss)}' does not fit {key} = '{output}'; "
            f"expected output {' or '.join(repr(name) for name in expected)}"
        )
    if output == "softmax" and wanted.task == "regression" and len(wanted.targets) <= 1:
        raise ValueError(f"{key} = 'softmax' of a single number is always 1; expected {' or '.join(map(repr, _NUMBERS))}")
