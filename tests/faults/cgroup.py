"""A control group with limits, as a container gets one: version 2, or version 1 where the kernel has the controllers there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path("/sys/fs/cgroup")
PERIOD = 100_000  # microseconds
# Joins the groups, sees them as the root of the tree, as a container does, and becomes the command.
ENTER = """
set -e
while [ "$1" != -- ]; do
    echo $$ > "$1/cgroup.procs"
    mount --bind "$1" "$2"
    shift 2
done
shift
exec "$@"
"""


@dataclass
class ControlGroup:
    """Below the group of this process, so that whatever limits us goes on to."""

    cpu: Path
    memory: Path
    version: int

    @classmethod
    def make(cls, name: str, *, cpus: int, memory_bytes: int) -> Self:
        """Make the group. Raises OSError where this process may not."""
        unified = (ROOT / "cgroup.controllers").exists()
        own = _own_paths()
        if unified:
            directory = ROOT / own.get("", "").lstrip("/") / name
            (directory.parent / "cgroup.subtree_control").write_text("+cpu +memory")
            group = cls(directory, directory, 2)
        else:
            group = cls(*(ROOT / part / own[part].lstrip("/") / name for part in ("cpu", "memory")), 1)
        for directory in {group.cpu, group.memory}:
            directory.mkdir()
        quota = cpus * PERIOD
        if unified:
            (group.cpu / "cpu.max").write_text(f"{quota} {PERIOD}")
            (group.memory / "memory.max").write_text(str(memory_bytes))
        else:
            (group.cpu / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group.cpu / "cpu.cfs_quota_us").write_text(str(quota))
            (group.memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
        return group

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs `arguments` in the group."""
        places = [str(self.cpu), str(ROOT)] if self.version == 2 else self._mounts()
        return ["unshare", "--mount", "sh", "-c", ENTER, "sh", *places, "--", *arguments]

    def peak_bytes(self) -> int:
        """Return the most memory that the group has had at a time, files in the page cache included."""
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        return int((self.memory / name).read_text(encoding="ascii"))

    def kills(self) -> int:
        """Return how many processes were killed for want of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return self._counter(self.memory / name, "oom_kill")

    def throttled(self) -> int:
        """Return in how many periods the group wanted more than its CPUs."""
        return self._counter(self.cpu / "cpu.stat", "nr_throttled")

    def remove(self) -> None:
        """Take the group away, once its processes have ended."""
        for directory in {self.cpu, self.memory}:
            directory.rmdir()

    def _mounts(self) -> list[str]:
        return [str(self.memory), str(ROOT / "memory"), str(self.cpu), str(ROOT / "cpu")]

    @staticmethod
    def _counter(path: Path, name: str) -> int:
        lines = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
        return int(lines[name])


def _own_paths() -> dict[str, str]:
    """Map each controller to the group of this process; version 2 has one for all, under the empty name."""
    entries = [line.split(":", 2) for line in Path(f"/proc/{os.getpid()}/cgroup").read_text(encoding="ascii").splitlines()]
    return {controller: path for _, controllers, path in entries for controller in controllers.split(",")}
