"""Recording what happens to one model version. The series are chosen once, so a request costs additions and nothing else."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from time import time
from typing import Final

from prometheus_client import Counter, Histogram
from prometheus_client.samples import Exemplar

from service.inference.execution import RunReport
from service.inference.served_model import Load, ModelFacts
from service.observability.families import ModelFamilies
from service.request_context import current_trace

Count = Callable[[float], None]
Serves = Callable[[ModelFacts, Callable[[], Load]], None]
# What is shown as 0 from the start, so that the first one is seen as an increase.
_ANSWERS: Final = (
    ("ok", ""),
    ("cancelled", ""),
    ("invalid", "malformed_body"),
    ("invalid", "signature_mismatch"),
    ("rejected", "overloaded"),
    ("rejected", "queue_full"),
    ("rejected", "shutting_down"),
    ("deadline", "deadline_exceeded"),
    ("failed", "model_failed"),
)
_REASONS: Final = ("full", "idle", "delay", "shutdown", "retry")


class ModelMetrics:
    """The observer of one model version. With `exemplars`, durations of traced requests have the id of their trace."""

    def __init__(self, families: ModelFamilies, name: str, version: str, *, serves: Serves, exemplars: bool) -> None:
        labels = (name, version)
        self._labels = labels
        self._families = families
        self.serves = serves
        self._requests = {answer: _increment(families.requests.labels(*labels, *answer)) for answer in _ANSWERS}
        self._runs = {reason: _increment(families.runs.labels(*labels, reason)) for reason in _REASONS}
        self._rows = _increment(families.rows.labels(*labels))
        self._padded_rows = _increment(families.padded_rows.labels(*labels))
        lookups = families.cache_lookups
        self._lookups = {found: _increment(lookups.labels(*labels, str(found).lower())) for found in (True, False)}
        self._request_seconds = (_observe_traced if exemplars else _observe)(families.request_seconds.labels(*labels))
        self._queue_seconds = _observe_all(families.queue_seconds.labels(*labels))
        self._compute_seconds = _observe(families.compute_seconds.labels(*labels))
        self._batch_size = _observe(families.batch_size.labels(*labels))

    def ran(self, run: RunReport, *, reason: str) -> None:
        """Record one run, and how long what is in it waited."""
        if run.waits:
            self._queue_seconds(run.waits)
        self._runs[reason](1)
        self._rows(run.rows)
        self._batch_size(run.rows)
        self._compute_seconds(run.seconds)
        if run.padding:
            self._padded_rows(run.padding)

    def looked_up(self, *, found: bool, seconds: float) -> None:  # noqa: ARG002 -- of use to other observers
        """Count a look into the response cache."""
        self._lookups[found](1)

    def answered(self, *, outcome: str, reason: str, seconds: float) -> None:
        """Record a finished request."""
        count = self._requests.get((outcome, reason))
        if count is None:
            count = _increment(self._families.requests.labels(*self._labels, outcome, reason))
            self._requests[outcome, reason] = count
        count(1)
        self._request_seconds(seconds)


# What happens for every request goes to the values directly. prometheus_client checks each amount and looks for an exemplar, and
# finds the bucket of a histogram by trying one after another: of a small model that took a twentieth of the throughput.


def _increment(counter: Counter) -> Count:
    """Return what adds to a counter."""
    increment: Count = counter._value.inc  # noqa: SLF001
    return increment


def _observe(histogram: Histogram) -> Count:
    """Return what adds an amount to a histogram."""
    bounds = list(histogram._upper_bounds)  # noqa: SLF001
    increments = [bucket.inc for bucket in histogram._buckets]  # noqa: SLF001
    add = histogram._sum.inc  # noqa: SLF001

    def observe(amount: float) -> None:
        increments[bisect_left(bounds, amount)](1)
        add(amount)

    return observe


def _observe_all(histogram: Histogram) -> Callable[[Sequence[float]], None]:
    """Return what adds several amounts to a histogram, in fewer steps than one after another."""
    bounds = list(histogram._upper_bounds)  # noqa: SLF001
    increments = [bucket.inc for bucket in histogram._buckets]  # noqa: SLF001
    add = histogram._sum.inc  # noqa: SLF001

    def observe(amounts: Sequence[float]) -> None:
        for amount in amounts:
            increments[bisect_left(bounds, amount)](1)
        add(sum(amounts))

    return observe


def _observe_traced(histogram: Histogram) -> Count:
    """Return what adds an amount to a histogram, with the trace of the current call as an example of it."""
    observe = _observe(histogram)
    bounds = list(histogram._upper_bounds)  # noqa: SLF001
    buckets = histogram._buckets  # noqa: SLF001

    def observe_with_example(amount: float) -> None:
        observe(amount)
        if (trace := current_trace()) is not None:
            buckets[bisect_left(bounds, amount)].set_exemplar(Exemplar({"trace_id": trace.hex_id}, amount, time()))

    return observe_with_example
