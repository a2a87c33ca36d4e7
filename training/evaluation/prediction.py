"""Run a Keras model as it will be served: no dropout, batch by batch, so that memory does not grow with the rows."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

_ROWS_A_BATCH: Final = 1024


def predict(model: Any, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:  # noqa: ANN401 -- a keras.Model
    """Return the outputs of `model`, which are called `names` in its order, for `inputs` by tensor name.

    The first axis of each counts the rows.
    """
    ordered = [inputs[tensor.name] for tensor in model.inputs]
    rows = len(ordered[0])
    parts = [
        _outputs(model, [array[start : start + _ROWS_A_BATCH] for array in ordered])
        for start in range(0, max(rows, 1), _ROWS_A_BATCH)
    ]
    return {name: np.concatenate(pieces) for name, pieces in zip(names, zip(*parts, strict=True), strict=True)}


def _outputs(model: Any, ordered: list[Array]) -> list[Array]:  # noqa: ANN401 -- a keras.Model
    given = model(_as_expected(model, ordered), training=False)
    values = [given[name] for name in sorted(given)] if isinstance(given, Mapping) else given
    return [np.asarray(value) for value in (values if isinstance(values, list | tuple) else [values])]


def _as_expected(model: Any, ordered: list[Array]) -> Any:  # noqa: ANN401 -- a keras.Model, and what it is called with
    """Return the inputs in the structure that the model was built with: one tensor, a list, or a dict by name."""
    structure = getattr(model, "_inputs_struct", ordered)
    if isinstance(structure, Mapping):
        return dict(zip(structure, ordered, strict=True))
    return ordered if isinstance(structure, list | tuple) else ordered[0]
