"""The last step of a regression: from about -1..1, where networks start, to the target's own unit."""

from typing import Any, Final

import keras
import msgspec
import numpy as np

from service.repository.signature import Signature
from training.architectures import build_model
from training.datasets import Rows
from training.spec import TrainingSpec
from training.spec.architecture import CustomSpec

_SUFFIX: Final = "_standardised"


def build_network(spec: TrainingSpec, signature: Signature, train: Rows) -> keras.Model:
    """Build the network of `spec` with fresh weights.

    A regression whose last layer is linear gets the mean and the standard deviation of the training targets as a fixed last
    layer, so that loss, metrics and served values are in the target's unit, and the fit starts near it.
    """
    if spec.dataset.task != "regression" or spec.architecture.output != "linear" or isinstance(spec.architecture, CustomSpec):
        return build_model(spec.architecture, signature.inputs, signature.outputs)
    (output,) = signature.outputs
    inner = msgspec.structs.replace(output, name=output.name + _SUFFIX)
    network = build_model(spec.architecture, signature.inputs, (inner,))
    mean, deviation = _statistics(train.targets)
    rescaled = keras.layers.Rescaling(deviation, offset=mean, name=output.name)(network.outputs[0])
    return keras.Model(network.inputs, rescaled)


def _statistics(targets: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Return mean and standard deviation of each value; a constant has the deviation 1."""
    wide = targets.astype(np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    deviation[deviation == 0] = 1.0
    return (float(mean[0]), float(deviation[0])) if targets.shape[1] == 1 else (mean.tolist(), deviation.tolist())
