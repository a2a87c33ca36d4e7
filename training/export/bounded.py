"""Convert a large graph in a process of its own, which is ended when it takes more memory than it may.

An address-space limit would stop TensorFlow before it has started: it reserves far more than it uses. So we watch the resident
memory of the process, as Linux tells it; on other systems only the separation protects us.
"""

import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import onnx

from training.children import child
from training.errors import ExportFailed
from training.export.conversion import Job
from training.scratch import export_scratch

_GRAPH, _JOB, _RESULT, _PROBLEM = "graph.pb", "job.json", "model.onnx", "problem.txt"
_INTERVAL: Final = 0.05  # seconds between two looks


def convert_apart(graph: Any, job: Job, *, memory_limit_mb: int) -> onnx.ModelProto:  # noqa: ANN401 -- TensorFlow is untyped
    """Convert a GraphDef in a new process. Raises ExportFailed as `convert` does, or if it needs more than the limit."""
    with export_scratch() as directory:
        (directory / _GRAPH).write_bytes(graph.SerializeToString())
        (directory / _JOB).write_bytes(msgspec.json.encode(job))
        _run([sys.executable, "-m", "training.export.worker", str(directory)], memory_limit_mb)
        problem = directory / _PROBLEM
        if problem.exists():
            raise ExportFailed(problem.read_text(encoding="utf-8"))
        return onnx.load(directory / _RESULT)


def _run(command: list[str], memory_limit_mb: int) -> None:
    with child(command) as process:
        largest = 0.0
        while process.poll() is None:
            largest = max(largest, resident_mb(process.pid))
            if largest > memory_limit_mb:
                process.kill()
                raise ExportFailed(
                    f"converting the graph took more than {memory_limit_mb} MB of memory, the limit. Raise memory_limit_mb under "
                    "[export] (--memory-limit-mb for `axon export`), or make the network smaller."
                )
            time.sleep(_INTERVAL)
        if process.returncode:
            raise ExportFailed(
                f"the process that converts the graph ended with code {process.returncode} at {largest:.0f} MB of memory. "
                "Code -9 is the system's, out of memory: free some, or make the network smaller."
            )


def resident_mb(pid: int) -> float:
    """Return the memory that a process holds now, in MB; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(sizes[0]) * 1024 / 1e6 if sizes else 0.0
