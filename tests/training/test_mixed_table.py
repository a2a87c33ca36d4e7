"""Strings, numbers and missing values, sent raw over HTTP: as good as a strong learner that was given prepared columns."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="needs the train extra")
pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]


def test_titanic_is_within_one_percent_of_gradient_boosting() -> None:
    script = ROOT / "tests" / "benchmarks" / "training" / "mixed_tables.py"

    done = subprocess.run(
        [sys.executable, str(script), "titanic"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("titanic: 262 test rows over HTTP, ROC AUC 0.8")
