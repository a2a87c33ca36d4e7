"""What the runs of models put into the traces of the calls that they answer. What becomes of the traces, tracing.py knows."""

from collections.abc import Callable

from service.inference.execution import RunReport
from service.inference.served_model import Load, ModelFacts
from service.registry import VersionStatus
from service.request_context import current_trace
from service.traces import Attributes, Reference, Trace


class Traced:
    """An observer like the metrics."""

    def model(self, name: str, version: int) -> "TracedModel":
        """Return the observer of a version that starts to serve."""
        return TracedModel(name, str(version))

    def unloaded(self, name: str, version: int) -> None:
        """Be told of what leaves no trace."""

    def forgotten(self, name: str, version: str) -> None:
        """Be told of what leaves no trace."""

    def state_changed(self, status: VersionStatus) -> None:
        """Be told of what leaves no trace."""

    def load_ended(self, name: str, *, seconds: float, failed: bool) -> None:
        """Be told of what leaves no trace."""


class TracedModel:
    """Notes the stages of the requests of one model version.

    A batch is shared, so each of its traces has it: the first with links to all requests in it, the others with a link to that one,
    which keeps the number of links that of the requests.
    """

    def __init__(self, name: str, version: str) -> None:
        self._labels = {"axon.model": name, "axon.version": version}

    def ran(self, run: RunReport, *, reason: str) -> None:
        """Note the wait of each traced request, the batch and the run in it."""
        if not run.traced:
            return
        attributes: Attributes = {
            **self._labels,
            "axon.batch.rows": run.rows,
            "axon.batch.padding": run.padding,
            "axon.batch.requests": run.requests,
            "axon.batch.reason": reason,
            "axon.batch.failed": run.failed,
        }
        waiting: dict[Trace, float] = {}
        for trace, enqueued_at in run.traced:  # a large request may have more than one part in a batch
            waiting.setdefault(trace, enqueued_at)
        links = [trace.reference for trace in waiting]
        for number, (trace, enqueued_at) in enumerate(waiting.items()):
            if reason != "retry":
                trace.add("queue", enqueued_at, run.started_at)
            batch = self._batch(trace, run, attributes, links)
            if number == 0:
                links = [batch]

    def _batch(self, trace: Trace, run: RunReport, attributes: Attributes, links: list[Reference]) -> Reference:
        ended_at = run.started_at + run.seconds
        batch = trace.add("batch", run.started_at, ended_at, attributes=attributes, links=links)
        trace.add("run", run.started_at + run.input_seconds, ended_at - run.output_seconds, parent_id=batch.span_id)
        return batch

    def looked_up(self, *, found: bool, seconds: float) -> None:  # noqa: ARG002 -- it takes no time worth a span
        """Note whether the answer came from the response cache."""
        if (trace := current_trace()) is not None:
            trace.attributes["axon.cache_hit"] = found

    def serves(self, facts: ModelFacts, load: Callable[[], Load]) -> None:
        """Be told of what leaves no trace."""

    def answered(self, *, outcome: str, reason: str, seconds: float) -> None:  # noqa: ARG002 -- the span has its own time
        """Say on the call what answered it and how that went."""
        if (trace := current_trace()) is not None:
            trace.attributes.update(self._labels)
            trace.attributes["axon.outcome"] = outcome
            if reason:
                trace.attributes["error.type"] = reason
