"""Memory and CPU of the container, as the kernel counts and limits them for its control group."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

_MOUNT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
_MICROSECONDS: Final = 1e-6


class CgroupCollector(Collector):
    """Reads the files of cgroup v2 at each scrape. Gives nothing where there are none, and no limit where there is none."""

    def __init__(self, *, mount: Path = _MOUNT, own: Path = _OWN) -> None:
        self._directory = _directory(mount, own)

    def collect(self) -> Iterator[Metric]:
        """Give what the files say now."""
        if (used := self._number("memory.current")) is not None:
            yield GaugeMetricFamily("axon_cgroup_memory_bytes", "Memory of the control group.", value=used)
        if (limit := self._number("memory.max")) is not None:
            yield GaugeMetricFamily("axon_cgroup_memory_limit_bytes", "Most memory that it may have.", value=limit)
        cpu = self._table("cpu.stat")
        for field, name, help_text, unit in (
            ("usage_usec", "axon_cgroup_cpu_seconds", "CPU time of the control group.", _MICROSECONDS),
            ("nr_throttled", "axon_cgroup_cpu_throttled_periods", "Periods in which its CPU quota was used up.", 1),
            ("throttled_usec", "axon_cgroup_cpu_throttled_seconds", "Time that it was held back for its CPU quota.", _MICROSECONDS),
        ):
            if field in cpu:
                yield CounterMetricFamily(name, help_text, value=cpu[field] * unit)

    def _number(self, name: str) -> float | None:
        try:
            return float((self._directory / name).read_text(encoding="ascii"))
        except (OSError, ValueError):  # not there, or `max`: no limit
            return None

    def _table(self, name: str) -> dict[str, int]:
        try:
            lines = (self._directory / name).read_text(encoding="ascii").splitlines()
            return {field: int(value) for field, value in (line.split() for line in lines)}
        except (OSError, ValueError):
            return {}


def _directory(mount: Path, own: Path) -> Path:
    """Return the control group of this process: the root as a container sees it, or the path that `0::` names on a host."""
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except OSError:
        return mount
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    named = mount / path.lstrip("/")
    return named if named.is_dir() and ".." not in named.parts else mount
