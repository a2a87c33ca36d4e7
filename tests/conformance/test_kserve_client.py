"""KServe's REST client, in an interpreter of its own: `AXON_KSERVE_PYTHON` names it, `make conformance-kserve` makes one."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

PYTHON = os.environ.get("AXON_KSERVE_PYTHON")


@pytest.mark.skipif(PYTHON is None, reason="kserve's dependencies clash with ours: AXON_KSERVE_PYTHON names an interpreter with it")
def test_kserve_client_gets_its_answers(conformance_server: Any) -> None:
    script = Path(__file__).with_name("kserve_client.py")

    done = subprocess.run(
        [str(PYTHON), str(script), conformance_server.url], capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 0, done.stderr
