"""A file made elsewhere -> a program: `.keras`, `.h5`, or a SavedModel directory. Its signature is read from the model."""

import importlib
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from service.repository.datatypes import Datatype, from_numpy
from service.repository.signature import Signature, TensorSpec
from training.errors import ExportFailed
from training.export.program import Program, full_precision, program_of, tensor_specs
from training.export.reasons import reason_of
from training.export.refusals import refuse_unexportable
from training.export.structure import input_names, input_shapes, input_structure, output_names

_SAVED_MODEL: Final = "saved_model.pb"
_SUFFIXES: Final = (".keras", ".h5", ".hdf5")
_ARCHIVED: Final = ("config.json", "metadata.json", "model.weights.h5")
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_ENDPOINT: Final = "serving_default"


def load_program(path: Path, *, modules: tuple[str, ...] = (), trusted: bool = False) -> Program:
    """Load a model and work out its inputs and outputs.

    `modules` are imported first: they register the model's own layers and classes. `trusted` allows Lambda layers, which are code
    in the file. Raises ExportFailed if it is no model, cannot be loaded, or has a layer without an ONNX form.
    """
    for module in modules:
        _import(module)
    if (path / _SAVED_MODEL).is_file():
        return _saved_program(path)
    _require_model_file(path)
    model = _keras_model(path, trusted=trusted)
    refuse_unexportable(model)
    _require_numbers(model)
    return program_of(model, signature_of_model(model))


def signature_of_model(model: keras.Model) -> Signature:
    """Return the tensors of a Keras model: keys of its dicts, else names of its layers. Raises ExportFailed if it is not built."""
    names = input_names(model)
    inputs = tuple(_declared(name, shape, dtype) for name, (shape, dtype) in zip(names, input_shapes(model), strict=True))
    structure = input_structure(model)
    found: list[tuple[str, Any]] = []

    def call(*tensors: Any) -> list[Any]:  # noqa: ANN401 -- TensorFlow is untyped
        with full_precision(model):
            results = model(keras.tree.pack_sequence_as(structure, list(tensors)), training=False)
        found[:] = zip(output_names(model, results), keras.tree.flatten(results), strict=True)
        return keras.tree.flatten(results)  # type: ignore[no-any-return]

    specs = list(tensor_specs(Signature(inputs, ())).values())
    try:
        tf.function(call, input_signature=specs, autograph=False).get_concrete_function()
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:  # what the model's own code and Keras raise
        raise ExportFailed(f"it cannot be traced: {reason_of(error)}.") from error
    return Signature(inputs, _outputs({name: tf.TensorSpec(value.shape, value.dtype) for name, value in found}, names))


def _require_model_file(path: Path) -> None:
    """Raise ExportFailed if the file is none of Keras', by its name or by what is in it."""
    if path.suffix == ".onnx":
        raise ExportFailed(f"{path} is ONNX already. It is served as it is: copy it to models/NAME/1/model.onnx.")
    if not path.is_file() or path.suffix not in _SUFFIXES:
        raise ExportFailed(f"{path} is no model file; expected {', '.join(_SUFFIXES)}, or a directory with {_SAVED_MODEL}.")
    if path.name.endswith((".weights.h5", ".weights.hdf5")):
        raise ExportFailed(f"{path} holds weights alone, without the layers. Save the whole model with model.save('model.keras').")
    if path.suffix == ".keras" and not _is_keras_archive(path):
        raise ExportFailed(
            f"{path} is no Keras file: expected an archive with {', '.join(_ARCHIVED)}, as model.save(...) writes it."
        )
    if path.suffix != ".keras" and not _starts_with(path, _HDF5):
        raise ExportFailed(f"{path} is no HDF5 file, though it is called so; expected what model.save(...) writes.")


def _is_keras_archive(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return set(_ARCHIVED) <= set(archive.namelist())


def _starts_with(path: Path, signature: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(signature)) == signature


def _keras_model(path: Path, *, trusted: bool) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False, safe_mode=not trusted)
    except (ValueError, TypeError, OSError, KeyError, ImportError, AttributeError, zipfile.BadZipFile) as error:
        told = _told(error)
        hint = "Use --trusted if you know who made the file. " if "Lambda" in str(error) or "unsafe" in str(error) else ""
        raise ExportFailed(
            f"{path} cannot be loaded: {told}. {hint}"
            "If it has classes of its own, register them with @keras.saving.register_keras_serializable and name their module "
            "with --import."
        ) from error


def _require_numbers(model: keras.Model) -> None:
    """Raise ExportFailed for weights that are no numbers: parity leaves out what Keras itself cannot compute."""
    for variable in model.variables:
        values = variable.value.numpy()
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise ExportFailed(f"weight '{variable.path}' holds NaN; expected numbers. Its fit has diverged: train it again.")


def _told(error: BaseException) -> str:
    """Return the first sentence of what is really wrong: Keras tells of the class that it lacks only deep inside."""
    inner: BaseException | None = error
    while inner is not None and not str(inner).startswith("Could not locate"):
        inner = inner.__cause__ or inner.__context__
    return str(inner or error).strip().partition("\n")[0].partition(". Make sure")[0].rstrip(".")


def _saved_program(path: Path) -> Program:
    """Load a SavedModel: its serving signature, as `model.export(...)` and `tf.saved_model.save` write it."""
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ExportFailed(f"{path} cannot be loaded: {error}") from error
    function = loaded.signatures.get(_ENDPOINT)
    if function is None:
        raise ExportFailed(
            f"{path} has the signatures {sorted(loaded.signatures)}; expected '{_ENDPOINT}', as model.export(...) writes it."
        )
    found = function.structured_input_signature[1]
    inputs = tuple(
        _declared(name, tuple(-1 if size is None else size for size in spec.shape), spec.dtype.name) for name, spec in found.items()
    )

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        _ = loaded  # owns the variables that the function uses
        return dict(zip(renamed, function(**tensors).values(), strict=True))

    outputs = _outputs(function.structured_outputs, list(found))
    renamed = [spec.name for spec in outputs]
    return Program(Signature(inputs, outputs), call)


def _outputs(found: Mapping[str, Any], inputs: list[str]) -> tuple[TensorSpec, ...]:
    """Declare the outputs; one that is called as an input gets another name, for ONNX has one name space."""
    specs = []
    for name, spec in found.items():
        shape = tuple(-1 if size is None else size for size in spec.shape) if spec.shape.rank is not None else (-1,)
        specs.append(_declared(f"{name}_output" if name in inputs else name, shape, spec.dtype.name))
    return tuple(specs)


def _declared(name: str, shape: tuple[int, ...], dtype: str) -> TensorSpec:
    if shape[:1] != (-1,):
        raise ExportFailed(
            f"tensor '{name}' has the shape {list(shape)}; expected a free first axis, the batch: rows of different requests are "
            "computed together. Build the model with None there."
        )
    return TensorSpec(name=name, datatype=_datatype(name, dtype), shape=shape)


def _datatype(name: str, dtype: str) -> Datatype:
    if dtype == "string":
        return "BYTES"
    try:
        return from_numpy(tf.as_dtype(dtype).as_numpy_dtype().dtype)
    except (KeyError, TypeError) as error:
        raise ExportFailed(f"tensor '{name}' is {dtype}, which cannot be served; cast it to float32 in the model.") from error


def _import(module: str) -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ExportFailed(f"--import {module}: {error}. Install the package, or run axon in its directory.") from error
    except Exception as error:  # the user's own code
        raise ExportFailed(f"--import {module}: it fails with {type(error).__name__}: {error}. Mend the module.") from error
