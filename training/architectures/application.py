"""The networks of keras.applications by name, without their top."""

import inspect
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import keras

from service.repository.signature import TensorSpec
from training.architectures.blocks import dropped, hidden
from training.architectures.inputs import augmented, image, keras_input, pixels
from training.architectures.outputs import Head, heads, model
from training.errors import ArchitectureError
from training.spec.architecture import ApplicationSpec

APPLICATIONS: Final = {
    name: function for name, function in vars(keras.applications).items() if inspect.isfunction(function) and name[0].isupper()
}


def build_application(spec: ApplicationSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[Head, ...]) -> keras.Model:
    """Put the output on top of the named network. Raises ArchitectureError for an unknown name, size or weights file."""
    tensor = image("application", inputs)
    start = keras_input(tensor)
    value = augmented(pixels(start, tensor, onto=spec.pixels), spec.augmentation)
    base = _base(spec, value.shape[1:])
    base.trainable = not spec.frozen
    value = dropped(base(value, training=False if spec.frozen else None), spec.dropout)
    return model([start], heads(hidden(value, spec.hidden), outputs))


def _base(spec: ApplicationSpec, shape: tuple[int, ...]) -> keras.Model:
    function = APPLICATIONS.get(spec.name)
    if function is None:
        close = get_close_matches(spec.name, APPLICATIONS, n=1, cutoff=0.4)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ArchitectureError(
            f"keras.applications has no '{spec.name}'.{hint} Expected one of {', '.join(sorted(APPLICATIONS))}."
        )
    if spec.weights is not None and not Path(spec.weights).is_file():
        raise ArchitectureError(
            f"weights = '{spec.weights}' is not a file. Expected a local .weights.h5 file; nothing is downloaded."
        )
    try:
        base = function(include_top=False, weights=None, input_shape=tuple(shape), pooling="avg")
        if spec.weights is not None:
            base.load_weights(spec.weights)
    except (ValueError, TypeError, OSError) as error:
        raise ArchitectureError(f"keras.applications.{spec.name} cannot be built for pictures {list(shape)}: {error}") from error
    return base
