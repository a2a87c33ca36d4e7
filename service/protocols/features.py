"""Columns by name into the inputs of a model: an input for each name, or the entries of an input's last axis that have names."""

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import msgspec
import numpy as np

from service.errors import SignatureMismatch, shown
from service.repository.datatypes import DATATYPES, to_numpy
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]

# Integers and booleans have no value that says that there is none.
_WITHOUT_MISSING: Final = frozenset(DATATYPES) - {"FP16", "FP32", "FP64", "BYTES"}
_LEAST_NAMES: Final = 1000  # that are looked at one by one, so that the first wrong one is named
_SHOWN: Final = 40  # names in an error
_COMPARED: Final = 100  # characters of a name that the nearest is looked for


class ModelInputs(msgspec.Struct, frozen=True):
    """Arrays by the names of inputs, and the names of those in which values are missing."""

    arrays: dict[str, Array]
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Column:
    """What a name stands for: an input, or one entry of its last axis."""

    spec: TensorSpec
    position: int | None = None

    @property
    def is_scalar(self) -> bool:
        """Whether a row has a single value here."""
        return self.position is not None or self.spec.shape[1:] in ((), (1,))

    @property
    def may_be_missing(self) -> bool:
        """Whether the model knows what to do without a value here."""
        return self.spec.missing and self.is_scalar and self.spec.datatype not in _WITHOUT_MISSING


class Columns:
    """The names that a model's signature gives to columns."""

    def __init__(self, model: str, signature: Signature) -> None:
        self._model = model
        self._signature = signature
        self._known = {
            feature: Column(spec, position) for spec in signature.inputs for position, feature in enumerate(features_of(spec))
        } | {spec.name: Column(spec) for spec in signature.inputs}

    def find(self, name: str, where: str) -> Column:
        """Return what a name means. Raises SignatureMismatch with the names that there are, and the nearest of them."""
        column = self._known.get(name)
        if column is None:
            near = get_close_matches(name[:_COMPARED], self._known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise SignatureMismatch(
                f"{where} has '{shown(name)}', which model '{self._model}' does not know.{hint} {self._takes()}"
            )
        return column

    def refuse_many(self, names: Sized, where: str) -> None:
        """Raise SignatureMismatch for more names than there are columns, before each of them is looked at."""
        if len(names) > max(_LEAST_NAMES, len(self._known)):
            raise SignatureMismatch(f"{where} has {len(names)} names, more than model '{self._model}' knows. {self._takes()}")

    def assembled(self, given: Mapping[str, tuple[Array, bool]], *, rows: int) -> ModelInputs:
        """Put columns of `rows` rows together to the inputs; each comes with whether values are missing in it.

        A column that is not there is one of missing values where the model knows these. Raises SignatureMismatch otherwise.
        """
        self._refuse_gaps(given)
        arrays: dict[str, Array] = {}
        missing: set[str] = set()
        for spec in self._signature.inputs:
            if spec.name in given:
                array, has_gaps = given[spec.name]
                arrays[spec.name] = array[:, np.newaxis] if array.ndim == 1 and spec.shape[1:] == (1,) else array
            else:
                names = features_of(spec)
                has_gaps = any(given[name][1] if name in given else True for name in names or [spec.name])
                columns = [given[name][0] if name in given else _nothing(spec, rows) for name in names or [spec.name]]
                arrays[spec.name] = self._stacked(spec, columns) if names else columns[0].reshape(rows, *spec.shape[1:])
            if has_gaps:
                missing.add(spec.name)
        return ModelInputs(arrays, frozenset(missing))

    def _stacked(self, spec: TensorSpec, columns: list[Array]) -> Array:
        if any(column.shape != columns[0].shape or column.ndim != 1 for column in columns):
            shapes = ", ".join(f"'{name}' {list(column.shape)}" for name, column in zip(spec.features, columns, strict=True))
            raise SignatureMismatch(f"The features of input '{spec.name}' are no columns of the same length: {shown(shapes)}.")
        return np.stack(columns, axis=1)

    def _refuse_gaps(self, given: Mapping[str, object]) -> None:
        """Raise SignatureMismatch for columns that are not there and cannot be missing."""
        absent = [
            name
            for spec in self._signature.inputs
            if spec.name not in given
            for name in features_of(spec) or [spec.name]
            if name not in given and not self._known[name].may_be_missing
        ]
        if absent:
            raise SignatureMismatch(f"{_listed(absent)} {'is' if len(absent) == 1 else 'are'} missing. {self._takes()}")

    def _takes(self) -> str:
        names = [name for spec in self._signature.inputs for name in features_of(spec) or [spec.name]]
        return f"Model '{self._model}' takes {_listed(names)}."


def features_of(spec: TensorSpec) -> tuple[str, ...]:
    """Return the names of the columns of an input of rows and columns; none if its columns have no names."""
    return spec.features if len(spec.shape) == 2 and len(spec.features) == spec.shape[1] else ()  # noqa: PLR2004


def _nothing(spec: TensorSpec, rows: int) -> Array:
    dtype: np.dtype[Any] = to_numpy(spec.datatype)
    return np.full(rows, "" if dtype.kind == "O" else np.nan, dtype=dtype)


def _listed(names: Iterable[str]) -> str:
    ordered = list(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(f"'{shown(name)}'" for name in ordered[:_SHOWN]) + more
