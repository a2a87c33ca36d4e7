"""The way out: a function of the user's own that returns a Keras model."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from service.repository.signature import TensorSpec
from training.architectures.inputs import described
from training.architectures.outputs import Head
from training.errors import ArchitectureError
from training.spec.architecture import CustomSpec


def build_custom(spec: CustomSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[Head, ...]) -> keras.Model:
    """Call the function with `inputs=`, `outputs=` and the options; its model must be a Functional one with those tensors.

    Several outputs may come as a list in their order, or as a dict by their names.
    The module is looked for in the working directory too. Raises ArchitectureError if there is none, it fails, or does not fit.
    """
    function, tensors = _imported(spec.function), tuple(output.tensor for output in outputs)
    try:
        model = function(inputs=inputs, outputs=tensors, **spec.options)
    except Exception as error:  # the function is the user's, and so is whatever it raises
        raise ArchitectureError(f"{spec.function} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, keras.Model):
        raise ArchitectureError(f"{spec.function} returned {type(model).__name__}; expected a keras.Model.")
    _check(spec.function, "input", model.inputs, inputs)
    model = _in_order(model, [tensor.name for tensor in tensors])
    _check(spec.function, "output", model.outputs, tensors)
    return model


def _in_order(model: keras.Model, names: list[str]) -> keras.Model:
    """Return a model whose outputs are a list in the order of `names`, if they are a dict by these names now."""
    given = getattr(model, "output", None)
    if not isinstance(given, dict) or set(given) != set(names) or len(names) == 1:
        return model
    return keras.Model(model.inputs, [keras.layers.Identity(name=name)(given[name]) for name in names])


def _imported(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        function = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ArchitectureError(
            f"cannot import '{module}' of function = '{path}': {error}. Install the package, or run axon in its directory."
        ) from error
    if not callable(function):
        raise ArchitectureError(f"'{module}' has no function '{name}'; expected function = '<package.module>:<function>'.")
    return function  # type: ignore[no-any-return]  # getattr is untyped


def _check(function: str, kind: str, tensors: list[Any] | None, wanted: tuple[TensorSpec, ...]) -> None:
    found = [tuple(-1 if size is None else size for size in tensor.shape) for tensor in tensors or []]
    if found != [spec.shape for spec in wanted]:
        raise ArchitectureError(
            f"{function} returned a model with the {kind}s {[list(shape) for shape in found]}; "
            f"expected {', '.join(described(spec) for spec in wanted)}, in this order."
        )
