"""The last step of a regression: from about -1..1, where networks start, to the target's own unit."""

from typing import Any, Final

import keras
import msgspec
import numpy as np

from service.repository.signature import Signature
from training.architectures import build_model
from training.datasets import Rows
from training.spec import OutputSpec, TrainingSpec
from training.spec.architecture import CustomSpec

_SUFFIX: Final = "_standardised"


def build_network(spec: TrainingSpec, signature: Signature, train: Rows) -> keras.Model:
    """Build the network of `spec` with fresh weights.

    A regression whose last layer is linear gets the mean and the standard deviation of the training targets as a fixed last
    layer, so that loss, metrics and served values are in the target's unit, and the fit starts near it.
    """
    goals = dict(zip((output.name for output in signature.outputs), spec.goals.values(), strict=True))
    linear = [] if isinstance(spec.architecture, CustomSpec) else [name for name, goal in goals.items() if _is_linear(goal)]
    inner = tuple(
        msgspec.structs.replace(output, name=output.name + _SUFFIX) if output.name in linear else output
        for output in signature.outputs
    )
    heads = {tensor.name: goal.head for tensor, goal in zip(inner, goals.values(), strict=True)}
    network = build_model(spec.architecture, signature.inputs, inner, heads)
    if not linear:
        return network
    outputs = [
        _rescaled(value, name, train.targets[name]) if name in linear else value
        for name, value in zip(goals, network.outputs, strict=True)
    ]
    return keras.Model(network.inputs, outputs[0] if len(outputs) == 1 else outputs)


def _is_linear(goal: OutputSpec) -> bool:
    return goal.task == "regression" and goal.head == "linear"


def _rescaled(value: Any, name: str, targets: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401 -- Keras tensors
    mean, deviation = _statistics(targets)
    return keras.layers.Rescaling(deviation, offset=mean, name=name)(value)


def _statistics(targets: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Return mean and standard deviation of each value; a constant has the deviation 1."""
    wide = targets.astype(np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    deviation[deviation == 0] = 1.0
    return (float(mean[0]), float(deviation[0])) if targets.shape[1] == 1 else (mean.tolist(), deviation.tolist())
