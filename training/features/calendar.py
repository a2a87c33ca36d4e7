"""The Gregorian calendar in ONNX integer arithmetic, exact from 0001-01-01 to 9999-12-31.

Days count from 1970-01-01. The formulas are Howard Hinnant's (chrono-Compatible Low-Level Date Algorithms): a year begins in March,
an era has 400 years or 146097 days. All of their terms are positive here, so that division rounds down.
"""

from typing import Final, NamedTuple

import numpy as np

from training.features.graph import Graph

DAY: Final = 86400
FIRST: Final = -719162 * DAY
LAST: Final = 2932897 * DAY - 1
_ERA: Final = 146097
_SHIFT: Final = 719468


class Date(NamedTuple):
    """Names of INT64 tensors [batch]: the year, the month from 1, the day from 1."""

    year: str
    month: str
    day: str


class Integers:
    """INT64 arithmetic on tensors and whole numbers."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def add(self, *terms: str | int) -> str:
        """Sum."""
        total, *rest = [self._tensor(term) for term in terms]
        for term in rest:
            total = self._graph.node("Add", total, term)
        return total

    def sub(self, left: str | int, right: str | int) -> str:
        """Subtract."""
        return self._graph.node("Sub", self._tensor(left), self._tensor(right))

    def mul(self, left: str | int, right: str | int) -> str:
        """Multiply."""
        return self._graph.node("Mul", self._tensor(left), self._tensor(right))

    def div(self, left: str, right: int) -> str:
        """Divide, towards zero."""
        return self._graph.node("Div", left, self._tensor(right))

    def mod(self, left: str, right: int) -> str:
        """Return the remainder, never negative."""
        return self._graph.node("Mod", left, self._tensor(right))

    def below(self, left: str, right: int) -> str:
        """Return 1 where left < right, else 0."""
        return self._graph.cast(self._graph.node("Less", left, self._tensor(right)), np.int64)

    def _tensor(self, value: str | int) -> str:
        return value if isinstance(value, str) else self._graph.constant(value, np.int64)


def date_of(graph: Graph, days: str) -> Date:
    """Days since 1970 -> the date."""
    of = Integers(graph)
    shifted = of.add(days, _SHIFT)
    era = of.div(shifted, _ERA)
    day_of_era = of.mod(shifted, _ERA)
    leaps = of.sub(of.add(of.div(day_of_era, 36524), day_of_era), of.add(of.div(day_of_era, 1460), of.div(day_of_era, 146096)))
    year_of_era = of.div(leaps, 365)
    day_of_year = of.sub(day_of_era, _days_before(of, year_of_era))
    month_from_march = of.div(of.add(of.mul(day_of_year, 5), 2), 153)
    day = of.add(of.sub(day_of_year, of.div(of.add(of.mul(month_from_march, 153), 2), 5)), 1)
    month = of.add(of.mod(of.add(month_from_march, 2), 12), 1)
    year = of.add(year_of_era, of.mul(era, 400), of.below(month, 3))
    return Date(year, month, day)


def days_of(graph: Graph, date: Date) -> str:
    """Return the days since 1970 of a date; a day that its month lacks is one of the next month."""
    of = Integers(graph)
    year = of.sub(date.year, of.below(date.month, 3))
    era = of.div(year, 400)
    year_of_era = of.mod(year, 400)
    month_from_march = of.mod(of.add(date.month, 9), 12)
    day_of_year = of.sub(of.add(of.div(of.add(of.mul(month_from_march, 153), 2), 5), date.day), 1)
    day_of_era = of.add(_days_before(of, year_of_era), day_of_year)
    return of.sub(of.add(of.mul(era, _ERA), day_of_era), _SHIFT)


def _days_before(of: Integers, year_of_era: str) -> str:
    """Days of an era before a year of it."""
    return of.sub(of.add(of.mul(year_of_era, 365), of.div(year_of_era, 4)), of.div(year_of_era, 100))
