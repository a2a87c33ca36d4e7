"""Properties of the API from its own description: what it says it takes is taken, what it says it gives is given, and never a 500.

A few seconds of it. The long run is `python tests/conformance/schemathesis_run.py SECONDS`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).with_name("schemathesis_run.py")


@pytest.mark.parametrize("names", ["schemathesis", "schemathesis_known_models"], ids=["made-up names", "names of models"])
def test_api_is_as_it_is_described(
    names: str,
    running: Callable[..., AbstractContextManager[Any]],
    conformance_repository: Path,
    load_module: Callable[[Path], Any],
    tmp_path: Path,
) -> None:
    run = load_module(RUN)
    with running(conformance_repository, "--model-control", "explicit") as server:
        done = run.explored(server.url, configuration=names, model="affine", seconds=8, examples=5, directory=tmp_path, seed=1)

        assert done.returncode == 0, done.stdout[-8000:]
        assert server.get("/v2/health/live").status_code == 200
    assert "Traceback" not in server.log
