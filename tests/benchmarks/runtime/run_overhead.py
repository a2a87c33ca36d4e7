"""What a run costs beside the graph: onnxruntime's `run`, its IO binding, its IO binding with buffers that are used again.

    python tests/benchmarks/runtime/run_overhead.py

Microseconds, the least and the median of many turns; the ways take turns. The third way leaves out what it would take to serve: the
copies into and out of its buffers, which `copied` adds.
"""

import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
from graphs import NETWORKS

CASES = (("mlp", 1, 500, 80), ("mlp", 32, 500, 80), ("cnn", 1, 20, 60), ("cnn", 32, 2, 40), ("resnet50", 1, 1, 12))


def ways(session: ort.InferenceSession, batch: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return the ways to run a session on a batch."""
    output = session.run(["y"], {"x": batch})[0]
    fresh, reused = session.io_binding(), session.io_binding()
    held, given = (ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype.type) for array in (batch, output))
    reused.bind_ortvalue_input("x", held)
    reused.bind_ortvalue_output("y", given)
    inside, outside = held.numpy(), given.numpy()

    def bound() -> np.ndarray:
        fresh.bind_cpu_input("x", batch)
        fresh.bind_output("y")
        session.run_with_iobinding(fresh)
        return fresh.copy_outputs_to_cpu()[0]

    def copied() -> np.ndarray:
        np.copyto(inside, batch)
        session.run_with_iobinding(reused)
        return outside.copy()

    return {
        "run": lambda: session.run(["y"], {"x": batch}),
        "bound": bound,
        "reused": lambda: session.run_with_iobinding(reused),
        "copied": copied,
    }


def main() -> None:
    """Write a table."""
    sys.stdout.write("| network | rows | run | bound | reused | copied |\n| --- | --- | --- | --- | --- | --- |\n")
    for name, rows, repeats, turns in CASES:
        build, row = NETWORKS[name]
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = ort.InferenceSession(build().SerializeToString(), options, providers=["CPUExecutionProvider"])
        batch = np.random.default_rng(0).random((rows, *row), dtype=np.float32)
        measured: dict[str, list[float]] = {}
        for _ in range(turns):
            for way, run in ways(session, batch).items():
                run()
                started_at = perf_counter()
                for _ in range(repeats):
                    run()
                measured.setdefault(way, []).append((perf_counter() - started_at) / repeats * 1e6)
        cells = [f"{min(times):.1f} / {statistics.median(times):.1f}" for times in measured.values()]
        sys.stdout.write(f"| {name} | {rows} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
