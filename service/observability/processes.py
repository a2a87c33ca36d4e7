"""The standard `process_...` metrics of a server that is several processes: their sums."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from service.observability.shared_values import Segment

_CHILDREN_USER, _CHILDREN_SYSTEM = 13, 14  # fields of /proc/<pid>/stat after the name, in clock ticks
# What is not added up: when the server started, and the limit that each process has for itself.
_COMBINED: Final = {"process_start_time_seconds": min, "process_max_fds": min}


class ProcessesCollector(Collector):
    """Adds up what prometheus_client's collector says of each process that writes a segment."""

    def __init__(self, segments: Sequence[Segment], *, parent: int) -> None:
        self._segments = segments
        self._parent = parent

    def collect(self) -> Iterator[Metric]:
        """Give the sums over the processes that run now; CPU time holds that of workers that have ended."""
        metrics: dict[str, Metric] = {}
        found: dict[str, list[float]] = defaultdict(list)
        for pid in {segment.pid for segment in self._segments if segment.pid}:
            for metric in ProcessCollector(registry=None, pid=lambda pid=pid: pid).collect():  # type: ignore[misc]
                metrics[metric.name] = metric
                found[metric.name].append(metric.samples[0].value)
        for name, metric in metrics.items():
            value = _COMBINED.get(name, sum)(found[name])
            if isinstance(metric, CounterMetricFamily):
                value += self._cpu_of_the_dead()
            metric.samples = [metric.samples[0]._replace(value=value)]
            yield metric

    def _cpu_of_the_dead(self) -> float:
        try:
            fields = Path(f"/proc/{self._parent}/stat").read_bytes().rsplit(b")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[_CHILDREN_USER]) + int(fields[_CHILDREN_SYSTEM])) / os.sysconf("SC_CLK_TCK")
