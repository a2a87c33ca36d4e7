"""`baseline.json`: what the training inputs and the predictions on them look like, so that drift can be seen later.

    {"format": 1, "rows": 1258,
     "inputs": {"image": {"shape": [8, 8], "features": [profile, ...]},
                "sex": {"shape": [], "categories": [{"counts": {"male": 577, "female": 314}}]}},
     "outputs": {"probabilities": {"shape": [10], "features": [profile, ...]}}}

Features are in row-major order of `shape`. A profile counts the rows between its edges: `counts[0]` below `edges[0]`, `counts[i]`
in `[edges[i-1], edges[i])`, the last at or above the last edge. Edges are the distinct deciles, so the counts are about equal.
Missing values (NaN, or "" of a text) are in no count; `missing` is their share of the rows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np

from service.errors import PackageError

BASELINE_NAME: Final = "baseline.json"
_DECILES: Final = np.linspace(0.1, 0.9, 9)
_TOP: Final = 50
_MOST_FEATURES: Final = 256
_MOST_CHANNELS: Final = 16

Array = np.ndarray[Any, Any]


class FeatureProfile(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one numeric feature is distributed over the rows where it is not missing; all zero where it always is."""

    mean: float
    std: float
    min: float
    max: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: float = 0.0


class CategoryProfile(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rows with each of the 50 most frequent values of a text or integer column, most frequent first.

    `other` counts the rows with any other value, and `distinct` the different values, those included.
    """

    counts: dict[str, int]
    other: int = 0
    distinct: int = 0
    missing: float = 0.0


class TensorProfile(msgspec.Struct, frozen=True, omit_defaults=True):
    """The profiles of a tensor's features; `shape` is without the batch axis.

    Numbers have `features`, texts `categories`, a column of integers both. `pooled`: the tensor has more than 1024 values a row,
    so there is one profile of all of them together, or one for each entry of a last axis of at most 16 (a picture's channels).
    """

    shape: tuple[int, ...]
    features: tuple[FeatureProfile, ...] = ()
    categories: tuple[CategoryProfile, ...] = ()
    pooled: bool = False


class Baseline(msgspec.Struct, frozen=True):
    """Profiles by tensor name."""

    rows: int
    inputs: dict[str, TensorProfile]
    outputs: dict[str, TensorProfile]
    format: int = 1

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Read the baseline of a package, None if it has none. Raises PackageError if the file is damaged."""
        path = directory / BASELINE_NAME
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PackageError(f"{path} is not a readable baseline: {error}. Publish the model again.") from error

    def write(self, directory: Path) -> None:
        """Write `baseline.json`, small rather than pretty: one line a feature."""
        text = msgspec.json.encode(self).replace(b'{"mean"', b'\n{"mean"')
        (directory / BASELINE_NAME).write_bytes(text + b"\n")


def profile(inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Baseline:
    """Profile the inputs of a fit and the model's outputs for them; the first axis of each counts the same rows."""
    return Baseline(
        rows=len(next(iter(inputs.values()))),
        inputs={name: _tensor(array) for name, array in inputs.items()},
        outputs={name: _tensor(array) for name, array in outputs.items()},
    )


def _tensor(array: Array) -> TensorProfile:
    shape = array.shape[1:]
    size = int(np.prod(shape, dtype=np.int64))
    pooled = size > _MOST_FEATURES
    width = size if not pooled else shape[-1] if shape[-1] <= _MOST_CHANNELS else 1
    columns = np.ascontiguousarray(array.reshape(-1, width).T)
    if array.dtype.kind in "OSU":
        return TensorProfile(shape, categories=tuple(_category(column.astype(str)) for column in columns), pooled=pooled)
    categories = (_category(array),) if array.dtype.kind in "iu" and not shape else ()
    return TensorProfile(shape, tuple(_feature(column) for column in columns), categories, pooled)


def _category(values: Array) -> CategoryProfile:
    present = values[values != ""] if values.dtype.kind == "U" else values
    distinct, counts = np.unique(present, return_counts=True)
    top = np.argsort(-counts, kind="stable")[:_TOP]
    kept = {str(distinct[index]): int(counts[index]) for index in top}
    return CategoryProfile(kept, len(present) - sum(kept.values()), len(distinct), _share_missing(len(present), len(values)))


def _feature(column: Array) -> FeatureProfile:
    # NaN comes last. Bytes are sorted by counting them, which numpy does when asked for a stable sort.
    values = np.sort(column, kind="stable" if column.dtype.itemsize == 1 else None)
    if values.dtype.kind == "f":
        values = values[: np.searchsorted(values, np.nan)]
    missing = _share_missing(len(values), len(column))
    if not len(values):
        return FeatureProfile(0.0, 0.0, 0.0, 0.0, (), (0,), missing)
    # Rounding the edges, not the values, keeps the counts true to the edges that are written.
    edges = np.unique([_short(value) for value in _quantiles(values)])
    below = np.searchsorted(values, edges, side="left")
    return FeatureProfile(
        mean=_short(values.mean(dtype=np.float64)),
        std=_short(values.std(dtype=np.float64)),
        min=_short(values[0]),
        max=_short(values[-1]),
        edges=tuple(edges.tolist()),
        counts=tuple(np.diff([0, *below, len(values)]).tolist()),
        missing=missing,
    )


def _quantiles(ascending: Array) -> Array:
    """Return the deciles, between two values in proportion; numpy's own would sort again."""
    places = _DECILES * (len(ascending) - 1)
    below = places.astype(np.int64)
    low, high = ascending[below].astype(np.float64), ascending[np.minimum(below + 1, len(ascending) - 1)].astype(np.float64)
    deciles: Array = low + (high - low) * (places - below)
    return deciles


def _share_missing(present: int, rows: int) -> float:
    return _short(1 - present / rows) if rows else 0.0


def _short(value: float) -> float:
    """Six significant digits: enough to compare distributions, a third of the file."""
    return float(f"{value:.6g}")
