"""Rows or columns of JSON into the inputs of a model: plain tensors, features by name, and pictures as `{"b64": ...}`."""

from collections.abc import Callable, Sequence, Sized
from typing import Any, Final

import numpy as np

from service.errors import MalformedBody, SignatureMismatch, shown
from service.protocols import pictures
from service.protocols.budget import Budget
from service.protocols.features import Column, Columns, ModelInputs
from service.protocols.json_values import Document, decoded, described, encoded, is_list, is_object, scalars, shape_of, tensor
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]

_ABSENT: Final = object()
_ROW: Final = 64
_CELL: Final = 16


def row_size(names: Sized) -> int:
    """Return about how many bytes a row of named values takes until it is an array's: many times what it takes in JSON."""
    return _ROW + _CELL * len(names)


class JsonInputs:
    """Reads the values of a document as one model's signature has them. `budget` bounds what rows and pictures take."""

    def __init__(self, document: Document, model: str, signature: Signature, budget: Budget) -> None:
        self._document = document
        self._model = model
        self._signature = signature
        self._budget = budget
        self._columns = Columns(model, signature)

    def rows(self, instances: object, where: str = "instances") -> tuple[ModelInputs, int]:
        """Read a list of rows, each an object of named values, or all of them one tensor; give their number beside.

        Raises MalformedBody or SignatureMismatch, which name the place.
        """
        if not is_list(instances) or not len(instances):
            raise MalformedBody(f"'{where}' must be a list of at least one row.")
        if self._is_named(instances[0]):
            return self._named_rows(instances, where), len(instances)
        spec = self._only_input(where)
        return self._columns.assembled({spec.name: self._tensor(instances, spec, where)}, rows=len(instances)), len(instances)

    def columns(self, inputs: object, where: str = "inputs") -> ModelInputs:
        """Read an object of tensors by name, or the tensor of a model's only input. Raises like `rows`."""
        if not is_object(inputs) or not self._is_named(inputs):
            if is_list(inputs) and len(inputs) and is_object(inputs[0]) and "datatype" in inputs[0]:
                raise MalformedBody(
                    "This is a request of the Open Inference Protocol. "
                    f'Send it to /v2/models/{self._model}/infer, or tensors by name: {{"inputs": {{"name": [...]}}}}.'
                )
            spec = self._only_input(where)
            return self._columns.assembled({spec.name: self._tensor(inputs, spec, where)}, rows=1)
        self._columns.refuse_many(inputs, where)
        given = {}
        for name, value in inputs.items():
            column = self._columns.find(name, where)
            given[name] = self._tensor(value, column.spec, f"{where}.{shown(name)}")
        rows = max((len(array) for array, _ in given.values() if array.ndim), default=1)
        return self._columns.assembled(given, rows=rows)

    def _is_named(self, value: object) -> bool:
        """Whether a value is an object of names rather than a single picture or string of bytes."""
        return is_object(value) and (encoded(value) is None or any(spec.name == "b64" for spec in self._signature.inputs))

    def _only_input(self, where: str) -> TensorSpec:
        if len(self._signature.inputs) != 1:
            raise MalformedBody(
                f"'{where}' has values without names, but model '{self._model}' takes {len(self._signature.inputs)} inputs. "
                f"Send objects with {', '.join(repr(spec.name) for spec in self._signature.inputs[:20])}."
            )
        return self._signature.inputs[0]

    def _tensor(self, data: object, spec: TensorSpec, where: str) -> tuple[Array, bool]:
        if spec.datatype != "BYTES":
            if encoded(data) is not None:
                return self._pictures([data], spec, lambda _index: where), False
            if is_list(data) and len(data) and encoded(data[0]) is not None:
                return self._pictures(data, spec, lambda index: f"{where}[{index}]"), False
        return self._present(*tensor(data, spec.datatype, where, is_regular=self._document.is_regular), spec, where)

    def _pictures(self, values: Sequence[Any], spec: TensorSpec, place: Callable[[int], str]) -> Array:
        return _stacked([self._picture(value, spec, place(index)) for index, value in enumerate(values)], place)

    def _picture(self, value: object, spec: TensorSpec, where: str) -> Array:
        text = encoded(value)
        if text is None:
            raise MalformedBody(f'{where} is {described(value)} among pictures; expected {{"b64": "<base64>"}}.')
        return pictures.to_row(decoded(text, where), spec, budget=self._budget, where=where)

    def _named_rows(self, instances: Sequence[Any], where: str) -> ModelInputs:
        rows: list[dict[str, Any]] = []
        known: dict[str, Column] = {}
        for index, row in enumerate(instances):
            if not is_object(row):
                raise MalformedBody(f"{where}[{index}] is {described(row)}; the rows before it are objects.")
            self._columns.refuse_many(row, f"{where}[{index}]")
            self._budget.take(row_size(row))
            values = dict(row.items())
            if not values.keys() <= known.keys():
                known |= {name: self._columns.find(name, f"{where}[{index}]") for name in values if name not in known}
            rows.append(values)
        alone = len(known) == 1
        given = {name: self._column(name, column, rows, where, alone=alone) for name, column in known.items()}
        return self._columns.assembled(given, rows=len(rows))

    def _column(self, name: str, column: Column, rows: list[dict[str, Any]], where: str, *, alone: bool) -> tuple[Array, bool]:
        """Read one name's value of every row."""

        def place(index: int) -> str:
            return f"{where}[{index}].{shown(name)}"

        values = [row.get(name, _ABSENT) for row in rows]
        for index, value in enumerate(values):
            if value is _ABSENT:
                if not column.may_be_missing:
                    raise SignatureMismatch(
                        f"{where}[{index}] has no '{shown(name)}', which model '{self._model}' does not go without."
                    )
                values[index] = None
        if column.is_scalar and not any(is_list(value) for value in values):
            array, missing = scalars(values, column.spec.datatype, place)
            if missing and not column.may_be_missing:
                raise SignatureMismatch(
                    f"{place(values.index(None))} is null; model '{self._model}' takes no missing values there."
                )
            return array, missing
        return self._cells(values, column.spec, place, alone=alone)

    def _cells(self, values: Sequence[Any], spec: TensorSpec, place: Callable[[int], str], *, alone: bool) -> tuple[Array, bool]:
        """Read a value of every row that is a tensor or a picture."""
        if spec.datatype != "BYTES" and encoded(values[0]) is not None:
            return self._pictures(values, spec, place), False
        shape = shape_of(values[0], place(0))
        regular = alone and bool(shape) and self._document.is_regular((len(values), *shape))
        cells: list[Array] = []
        missing = False
        for index, value in enumerate(values):
            array, has_null = tensor(value, spec.datatype, place(index), is_regular=lambda found, _data: regular and found == shape)
            cells.append(self._present(array, has_null, spec, place(index))[0])
            missing |= has_null
        return _stacked(cells, place), missing

    def _present(self, array: Array, missing: bool, spec: TensorSpec, where: str) -> tuple[Array, bool]:  # noqa: FBT001 -- a pair
        if missing and not spec.missing:
            raise SignatureMismatch(f"{where} has null for a value; model '{self._model}' takes no missing values there.")
        return array, missing


def _stacked(cells: list[Array], place: Callable[[int], str]) -> Array:
    for index, cell in enumerate(cells):
        if cell.shape != cells[0].shape:
            raise MalformedBody(f"{place(index)} has shape {list(cell.shape)}, {place(0)} has {list(cells[0].shape)}.")
    return np.stack(cells)
