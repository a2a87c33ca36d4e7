"""Numbers: imputed, clipped, log(1 + x) and scaled in 64-bit floats, rounded once, to the 32 bits that the network takes."""

from typing import Any, Final

import numpy as np
from msgspec import Struct

from service.repository.signature import TensorSpec
from training.errors import FeatureError
from training.features.graph import Graph
from training.spec.features import NumericSpec

_LARGEST: Final = float(np.finfo(np.float32).max)
_LARGEST_EXACT: Final = 2**53

Array = np.ndarray[Any, Any]
Numbers = tuple[float, ...]


class FittedNumeric(Struct, frozen=True, kw_only=True, tag_field="kind", tag="numeric"):
    """(f(x) - offset) * factor, f being imputation, clipping and log(1 + x); a number of each for every component of the column.

    `impute` is None where a number is never missing (integers). `indicator` marks the components that have a missing feature.
    """

    column: str
    rank: int
    impute: Numbers | None
    clip: tuple[Numbers, Numbers] | None
    log1p: bool
    offset: Numbers
    factor: Numbers
    indicator: tuple[bool, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """One feature a component, then the missing indicators."""
        count = len(self.offset)
        parts = [self.column] if self.rank == 1 else [f"{self.column}[{index}]" for index in range(count)]
        return (*parts, *(f"{part}=<missing>" for part, marked in zip(parts, self.indicator, strict=True) if marked))

    @property
    def output(self) -> None:
        """None: the column is part of `dense`."""

    @property
    def dimension(self) -> None:
        """None: nothing is embedded."""

    def build(self, graph: Graph, raw: str) -> str:
        """Give FP32 [batch, len(names)]."""
        values = graph.cast(graph.column(raw) if self.rank == 1 else raw, np.float64)
        missing = None
        if self.impute is not None:
            missing = graph.node("Or", graph.node("IsNaN", values), graph.node("IsInf", values))
            values = graph.node("Where", missing, graph.constant(self.impute, np.float64), values)
        if self.clip is not None:
            values = _bounded(graph, values, *self.clip)
        if self.log1p:
            positive = graph.node("Max", values, graph.constant(0, np.float64))
            values = graph.node("Log", graph.node("Add", positive, graph.constant(1, np.float64)))
        values = graph.node("Sub", values, graph.constant(self.offset, np.float64))
        values = graph.node("Mul", values, graph.constant(self.factor, np.float64))
        values = graph.cast(_bounded(graph, values, -_LARGEST, _LARGEST), np.float32)
        marked = [index for index, marked in enumerate(self.indicator) if marked]
        if missing is None or not marked:
            return values
        chosen = graph.node("Gather", graph.cast(missing, np.float32), graph.constant(marked, np.int64), axis=1)
        return graph.node("Concat", values, chosen, axis=1)


def fit_numeric(column: TensorSpec, spec: NumericSpec, values: Array) -> FittedNumeric:
    """Learn the statistics from training rows, numbers of [rows] or [rows, components]. Raises FeatureError."""
    _require_exact(column, values)
    table = values.reshape(len(values), -1).astype(np.float64)
    may_miss = values.dtype.kind == "f"
    present = np.where(np.isfinite(table), table, np.nan)
    if np.isnan(present).all(axis=0).any():
        raise FeatureError(column.name, "is missing in every training row; expected numbers. Leave it out with kind = 'ignored'.")
    if spec.log1p and spec.clip is None and (lowest := float(np.nanmin(present))) < 0:
        raise FeatureError(column.name, f"has the value {lowest:g}; log1p expects 0 or more. Drop log1p, or clip the column.")
    impute = _statistic(spec, present)
    clip = _clip(spec, present)
    ready = np.where(np.isnan(present), impute, present)
    ready = ready if clip is None else np.clip(ready, *clip)
    ready = np.log1p(np.maximum(ready, 0)) if spec.log1p else ready
    offset, factor = _scale(spec, ready)
    return FittedNumeric(
        column=column.name,
        rank=values.ndim,
        impute=_numbers(impute) if may_miss else None,
        clip=None if clip is None else (_numbers(clip[0]), _numbers(clip[1])),
        log1p=spec.log1p,
        offset=_numbers(offset),
        factor=_numbers(factor),
        indicator=tuple(spec.indicator and bool(missing.any()) for missing in np.isnan(present.T)),
    )


def _require_exact(column: TensorSpec, values: Array) -> None:
    """Raise FeatureError for integers that no float holds exactly: identifiers rather than numbers, which would all become one."""
    if values.dtype.kind not in "iu":
        return
    beyond = values[(values > _LARGEST_EXACT) | (values < -_LARGEST_EXACT)]
    if beyond.size:
        raise FeatureError(
            column.name,
            f"holds integers such as {beyond.flat[0]}; kind = 'numeric' expects at most 2**53, which floats tell apart. Choose "
            "'categorical' or 'hashed' if they are identifiers, 'ignored' to leave them out.",
        )


def _statistic(spec: NumericSpec, present: Array) -> Array:
    if spec.impute == "mean":
        return _means(present)
    if spec.impute == "median":
        return np.asarray(np.nanmedian(present, axis=0))
    return np.full(present.shape[1], spec.impute)


def _clip(spec: NumericSpec, present: Array) -> tuple[Array, Array] | None:
    if spec.clip is not None:
        return np.full(present.shape[1], spec.clip[0]), np.full(present.shape[1], spec.clip[1])
    if spec.clip_quantiles is not None:
        low, high = np.nanquantile(present, spec.clip_quantiles, axis=0)
        return low, high
    return None


def _scale(spec: NumericSpec, ready: Array) -> tuple[Array, Array]:
    """Return offset and factor; the factor of a constant component is 0, so that rounding is never blown up."""
    lowest, highest = ready.min(axis=0), ready.max(axis=0)
    if spec.scale == "none":
        return np.zeros_like(lowest), np.ones_like(lowest)
    offset, spread = (lowest, highest - lowest) if spec.scale == "minmax" else (_means(ready), ready.std(axis=0))
    varies = (lowest < highest) & (spread > 0)
    return offset, np.divide(1.0, spread, out=np.zeros_like(spread), where=varies)


def _means(table: Array) -> Array:
    """Average the numbers of each component that are there."""
    return np.asarray(np.nanmean(table, axis=0))


def _bounded(graph: Graph, values: str, low: float | Numbers, high: float | Numbers) -> str:
    values = graph.node("Max", values, graph.constant(low, np.float64))
    return graph.node("Min", values, graph.constant(high, np.float64))


def _numbers(array: Array) -> Numbers:
    return tuple(float(number) for number in array)
