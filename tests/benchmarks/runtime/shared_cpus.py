"""How models share the CPUs best: threads of a run, spinning, one session for several runs at once, the pool for all sessions.

    python tests/benchmarks/runtime/shared_cpus.py [seconds] [turns]

Rows a second of all callers, their 99th percentile of a run, CPUs that were busy: medians of turns, each a process of its own.
`idle` is how many CPUs are busy while a caller runs and then pauses for 30 ms.
"""

import json
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import onnxruntime as ort
from graphs import NETWORKS

_ROWS = 32
_PAUSE = 0.03
_CPUS = 2

# name, sessions, callers of each, threads of the pool, spinning, pool for all sessions
WAYS: dict[str, tuple[int, int, int, bool, bool]] = {
    "1 model, 1 thread": (1, 1, 1, False, False),
    "1 model, all CPUs": (1, 1, _CPUS, False, False),
    "1 model, all CPUs, spinning": (1, 1, _CPUS, True, False),
    "1 model, 2 instances, 1 session": (1, 2, 1, False, False),
    "1 model, 2 instances, 2 sessions": (2, 1, 1, False, False),
    "2 models, half the CPUs each": (2, 1, _CPUS // 2, False, False),
    "2 models, all CPUs each": (2, 1, _CPUS, False, False),
    "2 models, all CPUs each, spinning": (2, 1, _CPUS, True, False),
    "2 models, pool for all": (2, 1, _CPUS, True, True),
    "4 models, 1 thread each": (4, 1, 1, False, False),
    "4 models, all CPUs each": (4, 1, _CPUS, False, False),
    "4 models, all CPUs each, spinning": (4, 1, _CPUS, True, False),
    "4 models, pool for all": (4, 1, _CPUS, True, True),
}


def open_sessions(count: int, threads: int, *, spinning: bool, pooled: bool) -> list[ort.InferenceSession]:
    """Load the network `count` times."""
    graph = NETWORKS["cnn"][0]().SerializeToString()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if pooled:
        ort.set_global_thread_pool_sizes(threads, 1)
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return [ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]) for _ in range(count)]


def busy(sessions: list[ort.InferenceSession], callers: int, seconds: float, *, pause: float) -> dict[str, float]:
    """Let every caller run a session for some time, and say what came of it."""
    batch = np.random.default_rng(0).random((_ROWS, 1, 28, 28), dtype=np.float32)
    times: list[float] = []

    def call(session: ort.InferenceSession) -> None:
        while time.perf_counter() < end:
            started_at = time.perf_counter()
            session.run(["y"], {"x": batch})
            times.append(time.perf_counter() - started_at)
            time.sleep(pause)

    for session in sessions:
        session.run(["y"], {"x": batch})
    started_at, cpu_at = time.perf_counter(), time.process_time()
    end = started_at + seconds
    threads = [threading.Thread(target=call, args=(session,)) for session in sessions for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = time.perf_counter() - started_at
    return {
        "rows": len(times) * _ROWS / passed,
        "p99": float(np.quantile(times, 0.99)) * 1e3,
        "cpus": (time.process_time() - cpu_at) / passed,
    }


def measure(way: str, seconds: float) -> dict[str, float]:
    """Measure one way in this process."""
    count, callers, threads, spinning, pooled = WAYS[way]
    sessions = open_sessions(count, threads, spinning=spinning, pooled=pooled)
    figures = busy(sessions, callers, seconds, pause=0)
    return figures | {"idle": busy(sessions[:1], 1, seconds / 2, pause=_PAUSE)["cpus"]}


def main(seconds: float = 2, turns: float = 5) -> None:
    """Let the ways take turns and write a table."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(int(turns)):
        for way in WAYS:
            command = [sys.executable, __file__, way, str(seconds)]
            found[way].append(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
    sys.stdout.write("| way | rows/s | p99 ms | CPUs | idle |\n| --- | --- | --- | --- | --- |\n")
    for way, turns_of_it in found.items():
        rows, p99, cpus, idle = (statistics.median(turn[key] for turn in turns_of_it) for key in ("rows", "p99", "cpus", "idle"))
        sys.stdout.write(f"| {way} | {rows:.0f} | {p99:.1f} | {cpus:.2f} | {idle:.2f} |\n")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in WAYS:
        sys.stdout.write(json.dumps(measure(sys.argv[1], float(sys.argv[2]))))
    else:
        main(*map(float, sys.argv[1:]))
