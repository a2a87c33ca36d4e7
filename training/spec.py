"""What a training run is: the frozen types of a spec file. Reading one is in spec_file.py.

Every rule that needs no data is checked here, before anything is trained: types and ranges by the annotations, contradictions
between fields by `__post_init__`, whose ValueError msgspec turns into an error at the field's path.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, lt=1)]
Portion = Annotated[float, Meta(ge=0, le=1)]
Decay = Annotated[float, Meta(ge=0, lt=1)]
Positive = Annotated[float, Meta(gt=0, le=1e6)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]

DatasetName = Literal["digits"]
Activation = Literal[
    "celu", "elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "mish", "relu", "relu6", "selu",
    "sigmoid", "silu", "softplus", "softsign", "tanh",
]  # fmt: skip
Output = Literal["softmax", "sigmoid"]
Loss = Literal["binary_crossentropy", "categorical_crossentropy", "kl_divergence", "mse", "sparse_categorical_crossentropy"]

# What each loss demands of the output: a distribution over the labels, or one independent probability a label.
_OUTPUTS_OF: Final[dict[Loss, tuple[Output, ...]]] = {
    "binary_crossentropy": ("sigmoid",),
    "categorical_crossentropy": ("softmax",),
    "kl_divergence": ("softmax",),
    "mse": ("softmax", "sigmoid"),
    "sparse_categorical_crossentropy": ("softmax",),
}


class DatasetSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Which data, and how it is divided. Fractions are of all rows; the fit gets what is left."""

    name: DatasetName
    test_fraction: Share = 0.2
    validation_fraction: Share = 0.1
    stratified: bool = True

    def __post_init__(self) -> None:
        """Leave rows to fit."""
        held_out = self.test_fraction + self.validation_fraction
        if held_out >= 1:
            raise ValueError(
                f"test_fraction + validation_fraction = {held_out:g}; expected less than 1, so that rows are left to fit"
            )


class HiddenLayer(Struct, frozen=True, forbid_unknown_fields=True):
    """One dense layer. `slope` is leaky_relu's for negative values; `dropout` is the share of units dropped while fitting."""

    units: Count
    activation: Activation = "relu"
    slope: Portion | None = None
    dropout: Decay = 0.0

    def __post_init__(self) -> None:
        """Refuse a slope that would have no effect."""
        if self.slope is not None and self.activation != "leaky_relu":
            raise ValueError(f"slope = {self.slope:g} belongs to activation 'leaky_relu', not to '{self.activation}'")


class DenseSpec(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="dense"):
    """Dense layers from input to output; the network is deep from two hidden layers on."""

    hidden: Annotated[tuple[HiddenLayer, ...], Meta(min_length=1)]
    output: Output = "softmax"


class Sgd(Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="sgd"):
    """Stochastic gradient descent."""

    learning_rate: Positive = 0.01
    momentum: Decay = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Refuse nesterov without momentum."""
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov = true needs a momentum; expected momentum > 0")


class Adam(Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="adam"):
    """Adam (Kingma and Ba, 2014)."""

    learning_rate: Positive = 0.001
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


class Adagrad(Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="adagrad"):
    """Adagrad (Duchi et al., 2011)."""

    learning_rate: Positive = 0.001
    initial_accumulator_value: Positive = 0.1
    epsilon: Positive = 1e-7


class RmsProp(Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="rmsprop"):
    """RMSprop (Tieleman and Hinton, 2012)."""

    learning_rate: Positive = 0.001
    rho: Decay = 0.9
    momentum: Decay = 0.0
    epsilon: Positive = 1e-7


class EarlyStopping(Struct, frozen=True, forbid_unknown_fields=True):
    """Stop after `patience` epochs without a better `monitor`, and go back to the weights of the best epoch."""

    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    patience: Count = 10


class Acceptance(Struct, frozen=True, forbid_unknown_fields=True):
    """Thresholds for the test rows: at least this accuracy and macro F1, at most this log loss (nats)."""

    accuracy: Portion | None = None
    macro_f1: Portion | None = None
    log_loss: Positive | None = None

    def __post_init__(self) -> None:
        """Demand a threshold."""
        if self.accuracy is None and self.macro_f1 is None and self.log_loss is None:
            raise ValueError("no threshold is given; expected at least one of accuracy, macro_f1, log_loss")


class ExportSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The ONNX operator set, and the largest |ONNX - Keras| that may be published. tf2onnx writes no opset above 18."""

    opset: Annotated[int, Meta(ge=15, le=18)] = 18
    parity_tolerance: Positive = 1e-5


class TrainingSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run, whole: with the same machine and versions it always gives the same model."""

    name: Name
    description: str = ""
    seed: Annotated[int, Meta(ge=0, lt=2**32)]
    epochs: Count
    batch_size: Count
    loss: Loss
    dataset: DatasetSpec
    architecture: DenseSpec
    optimizer: Sgd | Adam | Adagrad | RmsProp
    acceptance: Acceptance
    early_stopping: EarlyStopping | None = None
    export: ExportSpec = ExportSpec()

    def __post_init__(self) -> None:
        """Match the loss with the output."""
        expected = _OUTPUTS_OF[self.loss]
        if self.architecture.output not in expected:
            raise ValueError(
                f"loss '{self.loss}' does not fit architecture.output = '{self.architecture.output}'; "
                f"expected output {' or '.join(repr(output) for output in expected)}"
            )
