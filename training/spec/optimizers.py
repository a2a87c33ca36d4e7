"""The optimizers of a spec file, `[optimizer] name = "adam"`, with Keras' options and its defaults."""

from typing import Annotated

from msgspec import Meta, Struct

from training.spec.scalars import Decay, Positive

NonNegative = Annotated[float, Meta(ge=0, le=1e6)]


class Optimizer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name"):
    """What all optimizers have: the step, decoupled weight decay (a share per step), and one bound on the gradients.

    `clipnorm` bounds the norm of each weight's gradient, `global_clipnorm` that of all together, `clipvalue` each number.
    """

    learning_rate: Positive = 0.001
    weight_decay: Decay | None = None
    clipnorm: Positive | None = None
    global_clipnorm: Positive | None = None
    clipvalue: Positive | None = None

    def __post_init__(self) -> None:
        """Refuse two bounds, and nesterov without a momentum."""
        bounds = {name: getattr(self, name) for name in ("clipnorm", "global_clipnorm", "clipvalue")}
        given = [name for name, value in bounds.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; expected at most one")
        if getattr(self, "nesterov", False) and not getattr(self, "momentum", 0.0):
            raise ValueError("nesterov = true needs a momentum; expected momentum > 0")


class Sgd(Optimizer, frozen=True, kw_only=True, tag="sgd"):
    """Stochastic gradient descent."""

    learning_rate: Positive = 0.01
    momentum: Decay = 0.0
    nesterov: bool = False


class _Moments(Optimizer, frozen=True, kw_only=True):
    """Decay of the running mean and of the running square of the gradients."""

    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


class Adam(_Moments, frozen=True, kw_only=True, tag="adam"):
    """Adam (Kingma and Ba, 2014); with `amsgrad` the running square never falls (Reddi et al., 2018)."""

    amsgrad: bool = False


class AdamW(_Moments, frozen=True, kw_only=True, tag="adamw"):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017)."""

    weight_decay: Decay | None = 0.004
    amsgrad: bool = False


class Adamax(_Moments, frozen=True, kw_only=True, tag="adamax"):
    """Adam with the infinity norm (Kingma and Ba, 2014)."""


class Nadam(_Moments, frozen=True, kw_only=True, tag="nadam"):
    """Adam with Nesterov momentum (Dozat, 2016)."""


class Adagrad(Optimizer, frozen=True, kw_only=True, tag="adagrad"):
    """Adagrad (Duchi et al., 2011)."""

    initial_accumulator_value: NonNegative = 0.1
    epsilon: Positive = 1e-7


class Adadelta(Optimizer, frozen=True, kw_only=True, tag="adadelta"):
    """Adadelta (Zeiler, 2012); the original uses learning_rate = 1."""

    rho: Decay = 0.95
    epsilon: Positive = 1e-7


class RmsProp(Optimizer, frozen=True, kw_only=True, tag="rmsprop"):
    """RMSprop (Tieleman and Hinton, 2012)."""

    rho: Decay = 0.9
    momentum: Decay = 0.0
    epsilon: Positive = 1e-7
    centered: bool = False


class Lion(Optimizer, frozen=True, kw_only=True, tag="lion"):
    """Lion (Chen et al., 2023): the sign of the momentum; wants a learning rate 3-10 times smaller than Adam's."""

    beta_1: Decay = 0.9
    beta_2: Decay = 0.99


class Ftrl(Optimizer, frozen=True, kw_only=True, tag="ftrl"):
    """Follow the regularised leader (McMahan et al., 2013), for wide and sparse linear parts."""

    learning_rate_power: Annotated[float, Meta(ge=-10, le=0)] = -0.5
    initial_accumulator_value: NonNegative = 0.1
    l1_regularization_strength: NonNegative = 0.0
    l2_regularization_strength: NonNegative = 0.0


OptimizerSpec = Sgd | Adam | AdamW | Adamax | Nadam | Adagrad | Adadelta | RmsProp | Lion | Ftrl
