"""`[architecture]`: the network, by its `kind`."""

from typing import Annotated

from msgspec import Meta, Struct

from training.spec.layers import (
    Activation,
    Augmentation,
    ConvolutionBlock,
    HiddenLayer,
    Kernel,
    Output,
    RecurrentLayer,
    ResidualStage,
)
from training.spec.scalars import Count, Decay, Name

__all__ = [
    "Activation", "ApplicationSpec", "ArchitectureSpec", "AttentionSpec", "AutoencoderSpec", "CnnSpec", "CustomSpec", "DenseSpec",
    "HiddenLayer", "Output", "RecurrentSpec", "ResidualCnnSpec", "WideAndDeepSpec",
]  # fmt: skip

Hidden = tuple[HiddenLayer, ...]
Layers = Annotated[Hidden, Meta(min_length=1)]
Function = Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
OptionValue = str | int | float | bool | list[str | int | float | bool]


class Network(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every kind says: the activation of the last layer, which must fit the loss.

    If it is not given, it is softmax for a classification and linear for a regression.
    """

    output: Output | None = None


class DenseSpec(Network, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="dense"):
    """Dense layers from input to output; the network is deep from two hidden layers on. `hidden = []` is a linear model."""

    hidden: Hidden


class CnnSpec(Network, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cnn"):
    """Convolution blocks, then dense layers. `global_pooling` averages over the picture instead of flattening it."""

    blocks: Annotated[tuple[ConvolutionBlock, ...], Meta(min_length=1)]
    hidden: Hidden = ()
    global_pooling: bool = False
    augmentation: Augmentation | None = None


class ResidualCnnSpec(Network, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="residual_cnn"):
    """A residual network (He et al., 2015) with batch normalisation, then the mean over the picture and dense layers.

    The first convolution has `stem_filters` kernels (by default those of the first stage) of `stem_kernel` pixels.
    """

    stages: Annotated[tuple[ResidualStage, ...], Meta(min_length=1)]
    stem_filters: Count | None = None
    stem_kernel: Kernel = 3
    activation: Activation = "relu"
    dropout: Decay = 0.0
    hidden: Hidden = ()
    augmentation: Augmentation | None = None


class RecurrentSpec(Network, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="recurrent"):
    """Recurrent layers over a sequence of numbers, or of token ids embedded in `embedding` dimensions, then dense layers.

    `mask_padding` skips token 0; a masked LSTM becomes a loop and 7 times as slow.
    """

    layers: Annotated[tuple[RecurrentLayer, ...], Meta(min_length=1)]
    embedding: Count = 32
    mask_padding: bool = False
    hidden: Hidden = ()


class AttentionSpec(Network, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="attention"):
    """A transformer encoder over token ids, then the mean over the tokens and dense layers.

    Tokens and their positions are embedded in `embedding` dimensions; each of the `blocks` has `heads` attention heads and a dense
    layer of `feed_forward` units. `mask_padding` hides token 0 from the attention and the mean.
    """

    embedding: Count = 64
    heads: Annotated[int, Meta(ge=1, le=64)] = 4
    blocks: Annotated[int, Meta(ge=1, le=48)] = 1
    feed_forward: Count = 128
    dropout: Decay = 0.0
    mask_padding: bool = False
    hidden: Hidden = ()

    def __post_init__(self) -> None:
        """Divide the embedding evenly between the heads."""
        if self.embedding % self.heads:
            raise ValueError(f"embedding = {self.embedding} does not divide by heads = {self.heads}; expected a multiple of it")


class WideAndDeepSpec(Network, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="wide_and_deep"):
    """A linear model of a table beside a deep one (Cheng et al., 2016); their sum goes through the output's activation.

    Each categorical column has a weight of its own in the wide part and a vector of `embedding` dimensions in the deep one; by
    default half its number of categories, at most 50.
    """

    hidden: Layers
    embedding: Count | None = None


class ApplicationSpec(Network, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="application"):
    """A network of keras.applications without its top, then the mean over the picture and dense layers.

    `weights` is a local file for the part without the top; without one the weights are random. `pixels` is what the network
    expects of black and white: [0, 255] for EfficientNet, MobileNetV3 and ConvNeXt, [-1, 1] for most others.
    """

    name: Name
    weights: str | None = None
    pixels: tuple[float, float] = (0.0, 1.0)
    frozen: bool = False
    dropout: Decay = 0.0
    hidden: Hidden = ()
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        """Refuse what could only give a constant network."""
        if self.frozen and self.weights is None:
            raise ValueError("frozen = true would keep random weights; expected weights = '<file>' with it")
        if self.pixels[0] >= self.pixels[1]:
            raise ValueError(f"pixels = {list(self.pixels)}; expected the smaller value first")


class AutoencoderSpec(Network, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="autoencoder"):
    """Dense layers down to `code` values and back up through the same layers to the input's own shape."""

    output: Output = "linear"
    hidden: Hidden = ()
    code: Count


class CustomSpec(Network, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="custom"):
    """A Keras model of the user's own: `function`, "package.module:name", is called with the inputs, the outputs and `options`.

    `output` tells what its last layer gives, so that the loss can be checked against it.
    """

    function: Function
    options: dict[str, OptionValue] = {}


ArchitectureSpec = (
    DenseSpec
    | CnnSpec
    | ResidualCnnSpec
    | RecurrentSpec
    | AttentionSpec
    | WideAndDeepSpec
    | ApplicationSpec
    | AutoencoderSpec
    | CustomSpec
)
