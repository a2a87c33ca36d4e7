"""Do these tensors fit the model? Asked before anything is queued, so that bad input never meets anyone else's."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from service.errors import SignatureMismatch, shown
from service.repository.datatypes import from_numpy, to_numpy
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]


def checked_inputs(
    model: str, signature: Signature, inputs: Mapping[str, Array], *, same_rows: bool, missing: Collection[str] = ()
) -> list[Array]:
    """Return the inputs in the order of the signature.

    Raises SignatureMismatch if one is missing, unknown, empty, or of another datatype or shape than the signature says, or if the
    inputs differ in their number of rows where `same_rows` demands it.
    """
    if len(signature.inputs) == 1 == len(inputs) and not missing and signature.inputs[0].name in inputs:
        return [_checked(model, signature.inputs[0], inputs[signature.inputs[0].name])]
    given = [(spec, inputs[spec.name]) for spec in signature.inputs if spec.name in inputs]
    if not len(given) == len(inputs) == len(signature.inputs):
        raise _misnamed(model, signature, inputs)
    ordered = [_checked(model, spec, array) for spec, array in given]
    for spec in signature.inputs if missing else ():
        if spec.name in missing and not spec.missing:
            raise SignatureMismatch(f"Input '{spec.name}' of model '{model}' has null for a value; it takes no missing values.")
    if same_rows and len(ordered) > 1 and len({len(array) for array in ordered}) > 1:
        rows = ", ".join(f"'{spec.name}' {len(array)}" for spec, array in zip(signature.inputs, ordered, strict=True))
        raise SignatureMismatch(
            f"The inputs of model '{model}' have different numbers of rows: {rows}. The first axis must be the same for all."
        )
    return ordered


def checked_outputs(model: str, signature: Signature, names: Sequence[str]) -> Sequence[int]:
    """Return the positions of the requested outputs; no name means all. Raises SignatureMismatch for an unknown or repeated one."""
    if not names:
        return range(len(signature.outputs))
    positions = {spec.name: index for index, spec in enumerate(signature.outputs)}
    for name in names:
        if name not in positions:
            raise SignatureMismatch(f"Model '{model}' has no output '{shown(name)}'. Its outputs: {_described(signature.outputs)}.")
    if len(set(names)) < len(names):
        raise SignatureMismatch(f"An output of model '{model}' is requested twice. Name each output once.")
    return [positions[name] for name in names]


def _misnamed(model: str, signature: Signature, inputs: Mapping[str, Array]) -> SignatureMismatch:
    """Say which input the model does not have, or else which one is missing."""
    names = [spec.name for spec in signature.inputs]
    described = f"Its inputs: {_described(signature.inputs)}."
    for name in inputs:
        if name not in names:
            return SignatureMismatch(f"Model '{model}' has no input '{shown(name)}'. {described}")
    absent = next(name for name in names if name not in inputs)
    return SignatureMismatch(f"Input '{absent}' of model '{model}' is missing. {described}")


def _checked(model: str, spec: TensorSpec, array: Array) -> Array:
    if array.dtype is not to_numpy(spec.datatype) and array.dtype != to_numpy(spec.datatype):
        raise SignatureMismatch(
            f"Input '{spec.name}' of model '{model}' has datatype {from_numpy(array.dtype)}; expected {spec.datatype}."
        )
    if not spec.accepts(array.shape):
        expected = f"{list(spec.shape)}{_advice(spec, array)}"
        raise SignatureMismatch(f"Input '{spec.name}' of model '{model}' has shape {list(array.shape)}; expected {expected}.")
    if array.size == 0:
        raise SignatureMismatch(f"Input '{spec.name}' of model '{model}' has shape {list(array.shape)}, which holds no values.")
    return array


def _advice(spec: TensorSpec, array: Array) -> str:
    """Return a hint for the usual slips: a forgotten batch axis, a flattened or missing last axis."""
    if spec.shape[:1] == (-1,) and spec.accepts((1, *array.shape)):
        return ": add the batch axis, [1, ...]"
    if spec.shape[-1:] == (1,) and spec.accepts((*array.shape, 1)):
        return ": add the channel axis, [..., 1]"
    if -1 in spec.shape:
        return ", where -1 is any size"
    return ""


def _described(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"'{spec.name}' {spec.datatype} {list(spec.shape)}" for spec in specs)
