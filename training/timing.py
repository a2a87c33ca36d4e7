"""How long things take: the steps of a run, and the published graph by batch size."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from service.repository.signature import Signature
from training.parity import open_graph, run_graph

_SIZES: Final = (1, 8, 32)
_RUNS: Final = 25
_PATIENCE: Final = 1.0  # seconds for one batch size


class Stopwatch:
    """Seconds by step, in the order of the steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 3)


def measure_latency(graph: Path, signature: Signature, rows: Mapping[str, np.ndarray[Any, Any]]) -> dict[int, float]:
    """Return the median milliseconds of one run in onnxruntime on this machine's CPU, by rows in the batch.

    `rows` are repeated if they are fewer than the batch.
    """
    session = open_graph(graph)
    names = [output.name for output in signature.outputs]
    found = {}
    for size in _SIZES:
        batch = {spec.name: np.resize(rows[spec.name], (size, *rows[spec.name].shape[1:])) for spec in signature.inputs}
        run_graph(session, names, batch)
        times: list[float] = []
        deadline = time.perf_counter() + _PATIENCE
        while len(times) < _RUNS and (not times or time.perf_counter() < deadline):
            started = time.perf_counter()
            run_graph(session, names, batch)
            times.append(1000 * (time.perf_counter() - started))
        found[size] = round(median(times), 4)
    return found
