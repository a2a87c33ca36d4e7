"""A spec's architecture -> a Keras model; the scaling of the inputs is part of it, and so of the served graph.

A file for each family; each builder takes its spec and the declared inputs and outputs, and names the model's tensors by them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import keras
import tensorflow as tf

from service.repository.signature import TensorSpec
from training.architectures.application import build_application
from training.architectures.autoencoder import build_autoencoder
from training.architectures.convolutional import build_cnn, build_residual
from training.architectures.custom import build_custom
from training.architectures.dense import build_dense
from training.architectures.outputs import Head
from training.architectures.sequential import build_attention, build_recurrent
from training.architectures.tables import build_wide_and_deep
from training.errors import ArchitectureError
from training.spec.architecture import (
    ApplicationSpec,
    ArchitectureSpec,
    AttentionSpec,
    AutoencoderSpec,
    CnnSpec,
    CustomSpec,
    DenseSpec,
    RecurrentSpec,
    ResidualCnnSpec,
    WideAndDeepSpec,
)
from training.spec.layers import Output

_BUILDERS: Final[dict[type, Callable[[Any, tuple[TensorSpec, ...], tuple[Head, ...]], keras.Model]]] = {
    ApplicationSpec: build_application,
    AttentionSpec: build_attention,
    AutoencoderSpec: build_autoencoder,
    CnnSpec: build_cnn,
    CustomSpec: build_custom,
    DenseSpec: build_dense,
    RecurrentSpec: build_recurrent,
    ResidualCnnSpec: build_residual,
    WideAndDeepSpec: build_wide_and_deep,
}


def build_model(
    spec: ArchitectureSpec,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    activations: Mapping[str, Output],
) -> keras.Model:
    """Build the network with fresh weights, drawn from Keras' global seed; its tensors are named by `inputs` and `outputs`.

    `activations` are those of the last layers by output. Several outputs come as a list, in the order of `outputs`. Raises
    ArchitectureError if the architecture does not fit them, or its weights the memory.
    """
    for tensor in (*inputs, *outputs):
        _reserve(tensor.name)
    heads = tuple(Head(tensor, activations[tensor.name]) for tensor in outputs)
    try:
        return _BUILDERS[type(spec)](spec, inputs, heads)
    except tf.errors.ResourceExhaustedError as error:
        raise ArchitectureError("its weights do not fit in memory; expected fewer units or filters.") from error


def _reserve(name: str) -> None:
    """Keep Keras from giving the name of a tensor, "dense" say, to a layer: names are unique within a model."""
    prefix, _, number = name.rpartition("_")
    if not number.isdecimal():
        keras.backend.get_uid(name)
        return
    while keras.backend.get_uid(prefix) <= int(number):
        pass
