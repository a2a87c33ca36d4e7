"""What becomes of a column that the spec does not name, and what its owner should be told of that."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from service.repository.signature import TensorSpec
from training.errors import FeatureError
from training.features.dates import ISO_DATE
from training.spec.features import CategoricalSpec, DatePart, DateSpec, FeatureSpec, NumericSpec, RawSpec

_DATE: Final = re.compile(ISO_DATE, re.ASCII)
_DAYS: Final[tuple[DatePart, ...]] = ("year", "month", "weekday")
_MOSTLY: Final = 0.9
_MANY: Final = 50  # different texts: as many features, or nearly

Array = np.ndarray[Any, Any]


def default_spec(values: Array) -> FeatureSpec:
    """Scale numbers, encode strings one-hot or as dates; take anything with more axes, and rows of integers, as they are."""
    if values.ndim > 1:
        return NumericSpec() if values.ndim == 2 and values.dtype.kind == "f" else RawSpec()  # noqa: PLR2004 -- a table
    if values.dtype.kind not in "OSU":
        return NumericSpec()
    present = Counter(str(value) for value in values if value)
    if present and all(map(_DATE.match, present)):
        timed = any(len(value) > len("2013-01-31") for value in present)
        return DateSpec(parts=(*_DAYS, "hour") if timed else _DAYS)
    return CategoricalSpec()


def require_one_kind(specs: Mapping[str, FeatureSpec], rows: Mapping[str, Array]) -> None:
    """Raise FeatureError for a column of numbers with a few words among them, which nobody means as categories.

    `rows` are all there are, not the training rows alone: one word in a held-out row makes text of every number.
    """
    for name, values in rows.items():
        if name not in specs and values.ndim == 1 and values.dtype.kind in "OSU":
            _require_numbers_or_words(name, Counter(str(value) for value in values if value))


def remark(column: TensorSpec, spec: FeatureSpec, values: Array) -> str:
    """Say what a default has made of a column, where it may not be what was meant; else nothing."""
    if isinstance(spec, DateSpec):
        return (
            f"Column '{column.name}' holds dates: it is taken as kind = 'date', its parts {', '.join(spec.parts)}. "
            f"Declare [features.{column.name}] to choose others."
        )
    if isinstance(spec, CategoricalSpec) and (distinct := len(set(values.tolist()))) > max(_MANY, len(values) // 2):
        return (
            f"Column '{column.name}' has {distinct:,} different texts in {len(values):,} training rows, such as "
            f"'{next(filter(None, values))}': each becomes a feature of its own. Declare [features.{column.name}] as hashed, text "
            "or ignored if that is not what you mean."
        )
    return ""


def without_number(values: Iterable[str]) -> list[str]:
    """Return the texts that are no numbers."""
    return [value for value in values if not _is_number(value)]


def _require_numbers_or_words(name: str, present: Counter[str]) -> None:
    words = without_number(present)
    rows = sum(present[word] for word in words)
    if 0 < rows < (1 - _MOSTLY) * present.total():
        raise FeatureError(
            name,
            f"holds numbers, but {rows} of {present.total()} rows have something else, such as '{words[0]}'. Correct "
            "it, name it in dataset.source.missing if it stands for no value, or declare "
            f"[features.{name}] as kind = 'categorical' if all of them are words.",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
