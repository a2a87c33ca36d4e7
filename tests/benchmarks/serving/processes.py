"""The processes of a measurement, each pinned to a CPU: onnxruntime alone, servers, load generators."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
HOST: Final = "127.0.0.1"
_PATIENCE: Final = 60.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cpus:
    """Where the server runs, and where its load comes from."""

    server: int
    load: int

    @classmethod
    def choose(cls) -> Self:
        """Take the first and the last CPU that this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            sys.exit("The benchmark needs two CPUs: one for the server, one for its load.")
        return cls(allowed[0], allowed[-1])


class Server:
    """A server process that listens on `port`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self.process.pid

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://{HOST}:{self.port}{path}"

    def cpu_seconds(self) -> float:
        """Return the CPU time that all its threads have used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def wait_until(self, path: str, status: int) -> None:
        """Wait until a GET of the path has this status."""
        deadline = time.monotonic() + _PATIENCE
        while _status(self.url(path)) != status:
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"The server did not start:\n{self.log.read_text(encoding='utf-8')[-3000:]}")
            time.sleep(0.05)


class Ceiling:
    """onnxruntime alone, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def measure(self, rows: int, seconds: float, pause: float = 0.0) -> dict[str, Any]:
        """Run batches of `rows` rows for a time; see ceiling.py."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("started without pipes")
        self._process.stdin.write(json.dumps({"rows": rows, "seconds": seconds, "pause": pause}) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def ceiling(graph: Path, cpu: int) -> Iterator[Ceiling]:
    """Load a graph in a process that waits for what to measure."""
    command = pinned([sys.executable, str(HERE / "ceiling.py"), str(graph)], cpu)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Ceiling(process)
        finally:
            process.kill()


@contextmanager
def axon(repository: Path, cpu: int | None, workdir: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """Start `axon serve`, on one CPU if one is given, and wait until it is ready."""
    command = [sys.executable, "-m", "service.cli", "serve", str(repository.resolve()), "--host", HOST, *options]
    with _server(command, cpu, workdir / "axon.log", {"PYTHONPATH": str(ROOT)}) as server:
        server.wait_until("/v2/health/ready", 200)
        yield server


@contextmanager
def plain(repository: Path, cpu: int, workdir: Path) -> Iterator[Server]:
    """Start the plain endpoint under uvicorn."""
    command = [sys.executable, "-m", "uvicorn", "plain_endpoint:app", "--host", HOST, "--no-access-log", "--app-dir", str(HERE)]
    with _server(command, cpu, workdir / "plain.log", {"REPOSITORY": str(repository.resolve())}) as server:
        server.wait_until("/docs", 200)
        yield server


def pinned(command: Sequence[str], cpu: int) -> list[str]:
    """Return a command that runs on one CPU."""
    taskset = shutil.which("taskset")
    if taskset is None:
        sys.exit("The benchmark needs taskset (Debian package util-linux).")
    return [taskset, "-c", str(cpu), *command]


@contextmanager
def _server(command: Sequence[str], cpu: int | None, log: Path, environment: dict[str, str]) -> Iterator[Server]:
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AXON_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)] if cpu is None else pinned([*command, "--port", str(port)], cpu),
            cwd=log.parent, env=inherited | environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield Server(process, port, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _status(url: str) -> int | None:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
