"""How many CPUs this process may really use, which is not how many the host has."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus(*, processes: int = 1, affinity: int | None = None, cgroup: Path = _CGROUP) -> int:
    """Return the number of CPUs to plan threads for: the affinity mask, cut to the cgroup's CPU quota, at least 1.

    `processes` is how many processes like this one share them. A quota of a fraction of a CPU counts as a whole one. Reads cgroup
    v2 `cpu.max` or v1 `cpu.cfs_quota_us`.
    """
    allowed = affinity if affinity is not None else _affinity()
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    return max(1, (min(allowed, math.ceil(quota)) if quota else allowed) // processes)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota_v2(cgroup: Path) -> float | None:
    """Read `cpu.max`: `<quota> <period>` in microseconds, or `max <period>` where there is no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(cgroup: Path) -> float | None:
    """Read the two files of cgroup v1; a quota of -1 means that there is no limit."""
    try:
        quota = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
