"""Run a Keras model as it will be served: no dropout, batch by batch, so that memory does not grow with the rows."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

_ROWS_A_BATCH: Final = 1024


def predict(model: Any, inputs: Mapping[str, Array]) -> Array:  # noqa: ANN401 -- a keras.Model; importing it takes seconds
    """Return the first output of `model` for `inputs` by tensor name, [rows, ...]; the first axis of each counts the rows."""
    return next(iter(predict_all(model, inputs).values()))


def predict_all(model: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:  # noqa: ANN401 -- a keras.Model
    """Return every output of `model` by its name, in the model's order."""
    ordered = [inputs[tensor.name] for tensor in model.inputs]
    rows = len(ordered[0])
    parts = [
        _outputs(model, [array[start : start + _ROWS_A_BATCH] for array in ordered])
        for start in range(0, max(rows, 1), _ROWS_A_BATCH)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _outputs(model: Any, ordered: list[Array]) -> dict[str, Array]:  # noqa: ANN401 -- a keras.Model
    given = model(_as_expected(model, ordered), training=False)
    if isinstance(given, Mapping):
        return {name: np.asarray(value) for name, value in given.items()}
    values = given if isinstance(given, list | tuple) else [given]
    return {name: np.asarray(value) for name, value in zip(model.output_names, values, strict=True)}


def _as_expected(model: Any, ordered: list[Array]) -> Any:  # noqa: ANN401 -- a keras.Model, and what it is called with
    """Return the inputs in the structure that the model was built with: one tensor, a list, or a dict by name."""
    structure = getattr(model, "_inputs_struct", ordered)
    if isinstance(structure, Mapping):
        return dict(zip(structure, ordered, strict=True))
    return ordered if isinstance(structure, list | tuple) else ordered[0]
