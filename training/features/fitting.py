"""Raw training columns and what the spec makes of them -> fitted columns, or an error that names the column and the value."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from service.repository.datatypes import Datatype, from_numpy
from service.repository.signature import TensorSpec
from training.errors import FeatureError
from training.features.bucketized import fit_buckets
from training.features.categorical import fit_categories
from training.features.dates import fit_date
from training.features.defaults import default_spec, remark, without_number
from training.features.encoding import Fitted
from training.features.features import Features
from training.features.hashed import fit_hash
from training.features.images import fit_image
from training.features.numeric import fit_numeric
from training.features.raw import fit_raw
from training.features.text import fit_text
from training.spec.features import (
    BucketizedSpec,
    CategoricalSpec,
    DateSpec,
    FeatureSpec,
    HashedSpec,
    IgnoredSpec,
    ImageSpec,
    NumericSpec,
    RawSpec,
    TextSpec,
)

Array = np.ndarray[Any, Any]

_INTEGERS: Final[tuple[Datatype, ...]] = ("INT64", "INT32", "INT16", "INT8", "UINT8", "UINT16", "UINT32", "BOOL")
_NUMBERS: Final[tuple[Datatype, ...]] = ("FP32", "FP64", "FP16", *_INTEGERS)
# What each kind takes: datatypes, ranks with the batch axis, and both in words.
_TAKES: Final[dict[type[FeatureSpec], tuple[tuple[Datatype, ...], tuple[int, ...], str]]] = {
    NumericSpec: (_NUMBERS, (1, 2), "numbers, one or a row of them"),
    BucketizedSpec: (_NUMBERS, (1,), "one number"),
    CategoricalSpec: (("BYTES", "FP32", *_INTEGERS), (1,), "one string, integer or 32-bit float"),
    HashedSpec: (("BYTES", *_INTEGERS), (1,), "one string or integer"),
    DateSpec: (("BYTES", "INT64"), (1,), "one string or 64-bit integer, which alone hold seconds exactly"),
    TextSpec: (("BYTES",), (1,), "one string"),
    ImageSpec: (_NUMBERS, (3, 4), "pictures, [height, width] or [height, width, channels]"),
    RawSpec: (("INT64", "FP32", "UINT8", "INT32"), (1, 2, 3, 4, 5), "numbers"),
}
_FITS: Final[dict[type[FeatureSpec], Callable[[TensorSpec, Any, Array], Fitted]]] = {
    NumericSpec: fit_numeric,
    BucketizedSpec: fit_buckets,
    CategoricalSpec: fit_categories,
    HashedSpec: fit_hash,
    DateSpec: fit_date,
    TextSpec: fit_text,
    ImageSpec: fit_image,
    RawSpec: lambda column, _spec, _values: fit_raw(column),
}


def fit_features(
    specs: Mapping[str, FeatureSpec], rows: Mapping[str, Array], held_out: Sequence[Mapping[str, Array]] = ()
) -> Features:
    """Fit every column of the training rows, in their order; a column without a spec gets `default_spec`.

    The first axis of each array counts the same rows, at least one. Of `held_out` rows only the range of raw ids is taken: how many
    there are sizes an embedding, which has no place for one beyond. Raises FeatureError, naming column and value.
    """
    for name in specs:
        if name not in rows:
            raise FeatureError(name, f"has a section [features.{name}], but the dataset has only the columns {', '.join(rows)}.")
    columns, fitted, remarks = [], [], []
    for name, values in rows.items():
        spec = specs.get(name)
        if isinstance(spec, IgnoredSpec):
            continue
        ids = isinstance(spec, RawSpec) and values.dtype.kind in "iu"
        column = _described(name, np.concatenate([values, *(other[name] for other in held_out)]) if ids else values)
        if spec is None:
            spec = default_spec(values)
            remarks.append(remark(column, spec, values))
        _require_fitting(column, spec, values)
        columns.append(_marked(column, spec))
        fitted.append(_FITS[type(spec)](column, spec, _with_strings(values)))
    return Features(tuple(columns), tuple(fitted), tuple(filter(None, remarks)))


def _marked(column: TensorSpec, spec: FeatureSpec) -> TensorSpec:
    """Say whether a value may be missing."""
    may_miss = column.datatype in ("FP16", "FP32", "FP64", "BYTES") and not isinstance(spec, RawSpec | ImageSpec)
    return msgspec.structs.replace(column, missing=may_miss)


def _described(name: str, values: Array) -> TensorSpec:
    """Describe a raw column; the range of a number is what training rows have."""
    if not len(values):
        raise FeatureError(name, "has no training rows; expected at least one.")
    try:
        datatype = from_numpy(values.dtype)
    except KeyError:
        raise FeatureError(name, f"has the numpy type {values.dtype}; expected numbers or strings. Convert the column.") from None
    value_range = None
    if datatype not in ("BYTES", "BOOL"):
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        value_range = (float(finite.min()), float(finite.max())) if finite.size else None
    return TensorSpec(name=name, datatype=datatype, shape=(-1, *values.shape[1:]), value_range=value_range)


def _require_fitting(column: TensorSpec, spec: FeatureSpec, values: Array) -> None:
    datatypes, ranks, words = _TAKES[type(spec)]
    kind = spec.__struct_config__.tag
    if column.datatype == "BYTES":
        _require_strings(column, values)
    if column.datatype not in datatypes:
        words_of = "text" if column.datatype == "BYTES" else f"{column.datatype} values"
        present = [value for value in values.flat if value != ""]
        example = next(iter(without_number(present) if column.datatype == "BYTES" else ()), present[0] if present else "")
        raise FeatureError(
            column.name,
            f"holds {words_of} such as {example!r}; kind = '{kind}' expects {words}. Choose another kind.",
        )
    if values.ndim not in ranks:
        raise FeatureError(
            column.name, f"has the shape {list(column.shape)}; kind = '{kind}' expects {words} a row. Choose another kind."
        )


def _require_strings(column: TensorSpec, values: Array) -> None:
    for row, value in enumerate(values.flat):
        if not isinstance(value, str):
            raise FeatureError(
                column.name,
                f'has {value!r}, of type {type(value).__name__}, in training row {row}; expected a string, and "" where it is '
                "missing. Convert the column.",
            )


def _with_strings(values: Array) -> Array:
    """Give strings of any numpy type as the Python strings that onnxruntime takes."""
    return values.astype(object) if values.dtype.kind in "OSU" else values
