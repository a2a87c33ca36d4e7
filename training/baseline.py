"""`baseline.json`: what the training inputs and the predictions on them look like, so that drift can be seen later.

    {"format": 1, "rows": 1258,
     "inputs": {"image": {"shape": [8, 8], "features": [profile, ...]}},
     "outputs": {"probabilities": {"shape": [10], "features": [profile, ...]}}}

Features are in row-major order of `shape`. A profile counts the rows between its edges: `counts[0]` below `edges[0]`, `counts[i]`
in `[edges[i-1], edges[i])`, the last at or above the last edge. Edges are the distinct deciles, so the counts are about equal.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

BASELINE_NAME: Final = "baseline.json"
_DECILES: Final = np.linspace(0.1, 0.9, 9)

Array = np.ndarray[Any, Any]


class FeatureProfile(msgspec.Struct, frozen=True):
    """How one feature is distributed over the rows."""

    mean: float
    std: float
    min: float
    max: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class TensorProfile(msgspec.Struct, frozen=True):
    """The profiles of a tensor's features; `shape` is without the batch axis."""

    shape: tuple[int, ...]
    features: tuple[FeatureProfile, ...]


class Baseline(msgspec.Struct, frozen=True):
    """Profiles by tensor name."""

    rows: int
    inputs: dict[str, TensorProfile]
    outputs: dict[str, TensorProfile]
    format: int = 1

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
    columns = array.reshape(len(array), -1).T
    return TensorProfile(shape=array.shape[1:], features=tuple(_feature(column) for column in columns))


def _feature(values: Array) -> FeatureProfile:
    # Rounding the edges, not the values, keeps the counts true to the edges that are written.
    edges = np.unique([_short(value) for value in np.quantile(values, _DECILES)])
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    wide = values.astype(np.float64)
    return FeatureProfile(
        mean=_short(wide.mean()),
        std=_short(wide.std()),
        min=_short(wide.min()),
        max=_short(wide.max()),
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def _short(value: float) -> float:
    """Six significant digits: enough to compare distributions, a third of the file."""
    return float(f"{value:.6g}")
