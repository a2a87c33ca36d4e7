"""How long a load takes with and without a cache of optimised graphs, and what digesting the graph would cost.

    python tests/benchmarks/runtime/cached_load.py

Milliseconds, the least of several turns.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import onnx
from graphs import NETWORKS

from service.inference.provider_defaults import CPU
from service.inference.session import Session
from service.repository.external_data import external_files
from service.repository.manifest import FileDigest
from service.repository.runtime_configuration import SessionTuning

_TURNS = 7


def least(work: Callable[[], object]) -> float:
    """Return the milliseconds of the fastest turn."""
    times = []
    for _ in range(_TURNS):
        started_at = perf_counter()
        work()
        times.append(perf_counter() - started_at)
    return min(times) * 1e3


def main() -> None:
    """Write a table."""
    kept_as_it_is = SessionTuning(graph_optimization="none")
    sys.stdout.write(
        "| network | load | load of the optimised graph | SHA-256 | reading external paths |\n| --- | --- | --- | --- | --- |\n"
    )
    for name, (build, _row) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as scratch:
            graph, kept = Path(scratch) / "model.onnx", Path(scratch) / "kept.onnx"
            onnx.save(build(), graph)
            Session(graph, threads=1, providers=[CPU], optimized_path=kept)
            cells = (
                least(lambda graph=graph: Session(graph, threads=1, providers=[CPU])),
                least(lambda kept=kept: Session(kept, threads=1, providers=[CPU], tuning=kept_as_it_is)),
                least(lambda graph=graph: FileDigest.of(graph)),
                least(lambda graph=graph: external_files(graph)),
            )
        sys.stdout.write(f"| {name} | {' | '.join(f'{cell:.1f}' for cell in cells)} |\n")


if __name__ == "__main__":
    main()
