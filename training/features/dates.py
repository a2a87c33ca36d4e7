"""Moments, as ISO 8601 strings or as integers since 1970, turned into the parts of the calendar.

Parts with a period are looked up in a table of what they become, so no sine is computed while serving. A string that is no date, a
day that its month lacks, an offset from UTC, or a moment outside the years 1 to 9999 is missing: all of its parts are 0.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct

from service.repository.signature import TensorSpec
from training.errors import FeatureError
from training.features.calendar import DAY, FIRST, LAST, Date, Integers, date_of, days_of
from training.features.graph import Graph
from training.features.running import evaluate
from training.features.tokens import tokenized
from training.spec.features import DatePart, DateSpec

# One token for a whole string that is a date; Z says UTC, as its absence does. Fractions of a second are cut off.
ISO_DATE: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?Z?)?$"
# Smallest value and period of each part that has one.
_PERIODS: Final[dict[DatePart, tuple[int, int]]] = {
    "month": (1, 12), "day": (1, 31), "weekday": (0, 7), "hour": (0, 24), "minute": (0, 60), "day_of_year": (1, 366),
}  # fmt: skip

Array = np.ndarray[Any, Any]


class Moment(NamedTuple):
    """Names of INT64 [batch], seconds since 1970 UTC, and of BOOL [batch], false where there is no date."""

    seconds: str
    valid: str


class FittedDate(Struct, frozen=True, kw_only=True, tag_field="kind", tag="date"):
    """`scales` has offset and factor of the parts without a period; `missing` says whether training rows miss the date."""

    column: str
    string: bool
    unit: str
    parts: tuple[DatePart, ...]
    cyclic: bool
    scales: dict[DatePart, tuple[float, float]]
    missing: bool

    @property
    def names(self) -> tuple[str, ...]:
        """One feature a part, or its sine and cosine."""
        names: list[str] = []
        for part in self.parts:
            name = f"{self.column}.{part}"
            names += [f"{name}.sin", f"{name}.cos"] if self.cyclic and part in _PERIODS else [name]
        return (*names, *([f"{self.column}=<missing>"] if self.missing else []))

    @property
    def output(self) -> None:
        """None: the column is part of `dense`."""

    @property
    def dimension(self) -> None:
        """None: nothing is embedded."""

    def build(self, graph: Graph, raw: str) -> str:
        """Give FP32 [batch, len(names)]."""
        moment = parsed(graph, raw) if self.string else counted(graph, raw, self.unit)
        numbers = parts_of(graph, moment.seconds)
        valid = graph.column(moment.valid)
        blank = graph.constant(0, np.float32)
        pieces = [graph.node("Where", valid, self._piece(graph, part, numbers[part]), blank) for part in self.parts]
        if self.missing:
            pieces.append(graph.cast(graph.node("Not", valid), np.float32))
        return graph.node("Concat", *pieces, axis=1)

    def _piece(self, graph: Graph, part: DatePart, number: str) -> str:
        """Give FP32 [batch, 1 or 2]."""
        if part in _PERIODS:
            first, period = _PERIODS[part]
            steps = np.arange(period)
            angles = 2 * np.pi * steps / period
            table = np.stack([np.sin(angles), np.cos(angles)], axis=1) if self.cyclic else steps[:, None] / (period - 1)
            return graph.node("Gather", graph.constant(table, np.float32), Integers(graph).sub(number, first), axis=0)
        offset, factor = self.scales[part]
        value = graph.node("Sub", graph.cast(graph.column(number), np.float64), graph.constant(offset, np.float64))
        return graph.cast(graph.node("Mul", value, graph.constant(factor, np.float64)), np.float32)


def counted(graph: Graph, raw: str, unit: str) -> Moment:
    """Read INT64 [batch], seconds or milliseconds since 1970."""
    thousand = 1000 if unit == "milliseconds" else 1
    low, high = graph.constant(FIRST * thousand, np.int64), graph.constant((LAST + 1) * thousand - 1, np.int64)
    inside = graph.node("Min", graph.node("Max", raw, low), high)
    of = Integers(graph)
    seconds = inside if thousand == 1 else of.div(of.sub(inside, of.mod(inside, thousand)), thousand)
    return Moment(seconds, graph.node("Equal", raw, inside))


def parsed(graph: Graph, raw: str) -> Moment:
    """Read strings [batch]: the numbers in those that match as a whole, compared with the calendar."""
    of = Integers(graph)
    whole = tokenized(graph, raw, ISO_DATE)
    tokens = graph.node("LabelEncoder", whole, keys_strings=[""], values_int64s=[0], default_int64=1)
    matched = graph.node("ReduceSum", tokens, graph.constant([1], np.int64), keepdims=0)
    # At most four digits each, so that nothing on a row that does not match can overflow.
    digits = graph.cast(tokenized(graph, raw, "[0-9]{1,4}", filler="0"), np.int64)
    shape = graph.node("Concat", graph.node("Shape", raw), graph.constant([6], np.int64), axis=0)
    padded = graph.node("Concat", digits, graph.node("Expand", graph.constant(0, np.int64), shape), axis=1)
    fields = [graph.node("Gather", padded, graph.constant(index, np.int64), axis=1) for index in range(6)]
    year, month, day, hour, minute, second = fields
    days = days_of(graph, Date(year, month, day))
    seconds = of.add(of.mul(days, DAY), of.mul(hour, 3600), of.mul(minute, 60), second)
    real = [graph.node("Equal", a, b) for a, b in zip(date_of(graph, days), (year, month, day), strict=True)]
    limits = [(hour, 24), (minute, 60), (second, 60)]
    real += [graph.node("Less", field, graph.constant(limit, np.int64)) for field, limit in limits]
    zero = graph.constant(0, np.int64)
    valid = graph.node("And", graph.node("Greater", matched, zero), graph.node("Greater", year, zero))
    for condition in real:
        valid = graph.node("And", valid, condition)
    return Moment(graph.node("Where", valid, seconds, zero), valid)


def parts_of(graph: Graph, seconds: str) -> dict[DatePart, str]:
    """Seconds since 1970 -> the names of all parts, INT64 [batch] each; what nothing uses is left out of the graph."""
    of = Integers(graph)
    second_of_day = of.mod(seconds, DAY)
    days = of.div(of.sub(seconds, second_of_day), DAY)
    date = date_of(graph, days)
    january = graph.constant(1, np.int64)
    return {
        "year": date.year,
        "month": date.month,
        "day": date.day,
        "weekday": of.mod(of.add(days, 3), 7),
        "hour": of.div(second_of_day, 3600),
        "minute": of.mod(of.div(second_of_day, 60), 60),
        "day_of_year": of.add(of.sub(days, days_of(graph, Date(date.year, january, january))), 1),
        "elapsed": days,
    }


def fit_date(column: TensorSpec, spec: DateSpec, values: Array) -> FittedDate:
    """Learn from training rows [rows], strings or INT64. Raises FeatureError for a string that is no date."""
    string = column.datatype == "BYTES"

    def moment(graph: Graph, raw: str) -> Moment:
        return parsed(graph, raw) if string else counted(graph, raw, spec.unit)

    whole = TensorSpec(name="seconds", datatype="INT64", shape=(-1,))
    seconds = evaluate(lambda graph, raw: moment(graph, raw).seconds, column, values, whole)
    flag = TensorSpec(name="valid", datatype="BOOL", shape=(-1,))
    valid = evaluate(lambda graph, raw: moment(graph, raw).valid, column, values, flag)
    _require_dates(column, values, valid, string=string)
    scales: dict[DatePart, tuple[float, float]] = {}
    for part in spec.parts:
        if part not in _PERIODS:
            scales[part] = _scale(part, whole, seconds[valid])
    return FittedDate(
        column=column.name,
        string=string,
        unit=spec.unit,
        parts=spec.parts,
        cyclic=spec.cyclic,
        scales=scales,
        missing=not bool(valid.all()),
    )


def _scale(part: DatePart, column: TensorSpec, seconds: Array) -> tuple[float, float]:
    """Return mean and 1 / standard deviation of a part; 0 for one that never changes."""
    result = TensorSpec(name=part, datatype="INT64", shape=(-1,))
    numbers = evaluate(lambda graph, raw: parts_of(graph, raw)[part], column, seconds, result)
    return float(numbers.mean()), 1 / float(numbers.std()) if numbers.min() < numbers.max() else 0.0


def _require_dates(column: TensorSpec, values: Array, valid: Array, *, string: bool) -> None:
    expected = "expected 2013-01-31 or 2013-01-31T09:08:07Z in UTC" if string else "expected a moment of the years 1 to 9999"
    for row in np.flatnonzero(~valid):
        if values[row] != "":
            raise FeatureError(column.name, f"has {values[row]!r} in training row {row}; {expected}. Convert the column.")
    if not valid.any():
        raise FeatureError(column.name, "is missing in every training row; expected dates. Leave it out with kind = 'ignored'.")
