"""onnxruntime alone: what the hardware gives when nothing stands around the run.

    python ceiling.py model.onnx

Reads lines `{"rows": 32, "seconds": 0.5, "pause": 0}` and answers each with the runs of that many rows that it did in that time:
count, seconds, CPU seconds and median. With a pause, in seconds, it sleeps before each run, as a server does that is rarely asked.
"""

import json
import statistics
import sys
import time
from typing import Any

import numpy as np
import onnxruntime as ort


def measure(session: ort.InferenceSession, rows: int, seconds: float, pause: float) -> dict[str, Any]:
    """Run for a time, after one run that does not count."""
    argument = session.get_inputs()[0]
    shape = (rows, *argument.shape[1:])
    inputs = {argument.name: np.random.default_rng(rows).random(shape, dtype=np.float32)}
    session.run(None, inputs)
    times: list[float] = []
    began, cpu_began = time.perf_counter(), time.process_time()
    while not times or time.perf_counter() - began < seconds:
        if pause:
            time.sleep(pause)
        started = time.perf_counter()
        session.run(None, inputs)
        times.append(time.perf_counter() - started)
    return {
        "runs": len(times),
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu_began,
        "median": statistics.median(times),
    }


def main() -> None:
    """Answer until the end of the input."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    for line in sys.stdin:
        sys.stdout.write(json.dumps(measure(session, **json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
