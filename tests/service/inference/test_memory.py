import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_memory_of_unloaded_and_of_refused_models_comes_back() -> None:
    """A model of 16 MB, loaded six times, and as often refused when it was in memory already."""
    process = subprocess.run(
        [sys.executable, ROOT / "tests/benchmarks/runtime/unloading.py", "16", "6"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    figures = re.search(r"after round 1 (\d+) MB, after round 6 (\d+) MB", process.stdout)
    assert figures, process.stderr
    assert int(figures[2]) <= int(figures[1]) + 8
