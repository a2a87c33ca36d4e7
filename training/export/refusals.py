"""Layers that tf2onnx cannot write, or writes wrongly without a word: refused by looking at the model, before it is trained."""

from typing import Final

import keras

from training.errors import ExportFailed

_SAFE_INTERPOLATIONS: Final = ("nearest", "bilinear")
_FEATURES: Final = "declare the column under [features] (vocabulary, hashing, text): Axon builds these as ONNX operators"
_REPLACEMENTS: Final = {
    "Hashing": _FEATURES,
    "HashedCrossing": _FEATURES,
    "IntegerLookup": _FEATURES,
    "StringLookup": _FEATURES,
    "TextVectorization": _FEATURES,
    "MelSpectrogram": "compute the spectrogram before the model and feed it",
    "STFTSpectrogram": "compute the spectrogram before the model and feed it",
}


def refuse_unexportable(model: keras.Model) -> None:
    """Raise ExportFailed, naming every layer without a faithful ONNX form, at any depth, and what to use instead."""
    found = [(layer, _problem(layer)) for layer in model._flatten_layers()]  # noqa: SLF001 -- the only way to all inner layers
    problems = [f"layer '{layer.name}' is {problem}" for layer, problem in found if problem]
    if problems:
        raise ExportFailed("; ".join(dict.fromkeys(problems)) + ".")


def _problem(layer: keras.layers.Layer) -> str | None:
    kind = type(layer).__name__
    if kind in _REPLACEMENTS:
        return f"a {kind}, which has no ONNX form; {_REPLACEMENTS[kind]}"
    if kind in {"Resizing", "UpSampling2D"} and layer.interpolation not in _SAFE_INTERPOLATIONS:
        why = "computes something else in ONNX" if layer.interpolation == "area" else "has no ONNX form"
        return f"a {kind} with interpolation '{layer.interpolation}', which {why}; use 'bilinear' or 'nearest'"
    if layer.dtype_policy.variable_dtype == "bfloat16":
        return f"in {layer.dtype_policy.name}, which onnxruntime does not compute; use float32 or mixed_bfloat16"
    return None
