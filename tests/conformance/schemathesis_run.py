"""Explore a server that runs here by its API description, for as long as is asked: `schemathesis_run.py SECONDS`.

Ends with status 1 if a check fails or the server writes a traceback.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Each configuration with the operations that it leaves out: with a known model, it must stay loaded.
LEFT_OUT = {"schemathesis": [], "schemathesis_known_models": ["--exclude-path-regex", "/(un)?load$"]}


def explored(
    url: str, *, configuration: str, model: str, seconds: int, examples: int, directory: Path, seed: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis with all its checks against a server, for so many seconds at most; a seed makes it ask the same again."""
    command = ["--config-file", str(HERE / f"{configuration}.toml"), "run", f"{url}/openapi.json", "--checks", "all"]
    limits = ["--max-time", str(seconds), "-n", str(examples), "--continue-on-failure"]
    seeded = [] if seed is None else ["--seed", str(seed)]
    return subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), *command, *limits, *seeded, *LEFT_OUT[configuration]],
        cwd=directory,
        env=os.environ | {"MODEL": model},
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def served(log: Path) -> Iterator[str]:
    """Serve the committed models, and give the address."""
    command = [sys.executable, "-m", "service.cli", "serve", "models", "--port", "0", "--model-control", "explicit"]
    with log.open("w") as stream, subprocess.Popen(command, stderr=stream, cwd=ROOT) as process:
        try:
            while "models ready" not in log.read_text():
                time.sleep(0.1)
                assert process.poll() is None, log.read_text()
            yield re.findall(r"listens on (http://\S+)", log.read_text())[0]
        finally:
            process.terminate()


def main() -> int:
    """Explore with each configuration, half of the time each."""
    seconds = int(sys.argv[1]) // len(LEFT_OUT)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        status = 0
        with served(directory / "log") as url:
            for configuration in LEFT_OUT:
                run = explored(
                    url, configuration=configuration, model="digits", seconds=seconds, examples=1_000_000, directory=directory
                )
                print(run.stdout)  # noqa: T201 -- the result of the script
                status = status or run.returncode
        return status or int("Traceback" in (directory / "log").read_text())


if __name__ == "__main__":
    sys.exit(main())
