"""Nothing that a user runs here calls home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# onnxruntime complains about a home in which it cannot keep the identifier of this machine; its own tests and CI are spared.
SPARED = {"CI", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY"}


def stderr_of(code: str, home: Path, **environ: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in SPARED and not key.endswith("_CI")}
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT)} | environ
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True)
    return ended.stderr


@pytest.mark.parametrize("module", ["service.inference.session", "training.features.running"])
def test_onnxruntime_sends_nothing_about_models_and_machine(module: str) -> None:
    assert "telemetry" not in stderr_of(f"import {module}", Path("/proc/none"))


def test_who_wants_to_send_it_may() -> None:
    assert "telemetry" in stderr_of("import service.inference.session", Path("/proc/none"), ORT_DISABLE_TELEMETRY="0")
