"""The layers that `[architecture]` is made of: words for activations, dense layers, convolutions, recurrent cells, embeddings."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from training.spec.scalars import Count, Decay, Portion

# Every activation that Keras has and that ONNX reproduces within 1e-5, by Keras' names.
Activation = Literal[
    "celu", "elu", "exponential", "gelu", "gelu_tanh", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "prelu", "relu", "relu6", "selu", "sigmoid", "silu",
    "soft_shrink", "softmax", "softplus", "softsign", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink",
]  # fmt: skip
Output = Literal["exponential", "linear", "sigmoid", "softmax", "softplus", "tanh"]

Kernel = Annotated[int, Meta(ge=1, le=31)]
Penalty = Annotated[float, Meta(ge=0, le=10)]
_WITH_SLOPE = ("leaky_relu", "prelu")


class Activated(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every layer with an activation may say.

    `slope` is leaky_relu's for negative values, and where prelu starts to learn its own. `dropout` is the share of values dropped
    while fitting; `l1` and `l2` are penalties on the weights.
    """

    activation: Activation = "relu"
    slope: Portion | None = None
    dropout: Decay = 0.0
    batch_norm: bool = False
    l1: Penalty = 0.0
    l2: Penalty = 0.0

    def __post_init__(self) -> None:
        """Refuse a slope that would have no effect."""
        if self.slope is not None and self.activation not in _WITH_SLOPE:
            raise ValueError(
                f"slope = {self.slope:g} belongs to activation {' or '.join(map(repr, _WITH_SLOPE))}, not to '{self.activation}'"
            )


class HiddenLayer(Activated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One dense layer: weights, batch normalisation, activation, dropout, in this order."""

    units: Count


class ConvolutionBlock(Activated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`layers` convolutions of `filters` kernels of `kernel` x `kernel` pixels, then pooling over `pool` x `pool` pixels.

    `pool = 1` is none. `separable` convolves each channel alone and mixes them after: a fraction of the weights. Dropout is
    applied once, after the pooling.
    """

    filters: Count
    kernel: Kernel = 3
    layers: Annotated[int, Meta(ge=1, le=8)] = 1
    pool: Annotated[int, Meta(ge=1, le=8)] = 2
    pooling: Literal["max", "average"] = "max"
    separable: bool = False


class ResidualStage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`blocks` residual blocks of two convolutions of `filters` kernels each; the first of them moves by `stride` pixels."""

    filters: Count
    blocks: Annotated[int, Meta(ge=1, le=32)] = 1
    stride: Annotated[int, Meta(ge=1, le=4)] = 1


class RecurrentLayer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recurrent layer. In onnxruntime an LSTM is one operator; the other cells are loops, and 2 to 7 times as slow."""

    units: Count
    cell: Literal["lstm", "gru", "simple_rnn"] = "lstm"
    bidirectional: bool = False
    dropout: Decay = 0.0


class Augmentation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Random changes to each picture while fitting, none when serving.

    A picture is mirrored, moved and zoomed by up to a share of its size, and turned by up to a share of a whole turn.
    """

    horizontal_flip: bool = False
    translation: Portion = 0.0
    rotation: Portion = 0.0
    zoom: Portion = 0.0
