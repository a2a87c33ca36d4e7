"""What the fault scripts of the service share: a tiny model, servers that can be stopped and started again, and load from wrk."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
WRK = shutil.which("wrk") or "wrk"
ROW = '{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'
# Every answer is looked at, not only its status: a wrong one is as bad as none.
_LUA = """
wrk.method = "POST"
wrk.path = "/v2/models/affine/infer"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '%(body)s'
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) wrong = 0; refused = 0 end
function response(status, headers, body)
  if status ~= 200 then
    if refused == 0 then io.stderr:write("refused with ", status, ": ", body, "\\n") end
    refused = refused + 1
  elseif not string.find(body, '"data":[7.0,8.0,9.0]', 1, true) then wrong = wrong + 1 end
end
function done(summary, latency, requests)
  local wrong, refused, errors = 0, 0, summary.errors
  for _, thread in ipairs(threads) do wrong = wrong + thread:get("wrong"); refused = refused + thread:get("refused") end
  io.write(string.format("RESULT %%d %%d %%d %%d %%d\\n", summary.requests, refused, wrong,
    errors.connect + errors.read + errors.write, errors.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk saw. `broken` counts connections that ended or could not be made."""

    requests: int
    refused: int
    wrong: int
    broken: int
    late: int

    @property
    def failed(self) -> int:
        """All requests without the right answer."""
        return self.refused + self.wrong + self.broken + self.late

    def __add__(self, other: "Load") -> "Load":
        return Load(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


NOTHING = Load(0, 0, 0, 0, 0)


def make_repository(directory: Path) -> Path:
    """Write a model that answers [1, 2, 3, 4] with [7, 8, 9]."""
    weights = np.zeros((4, 3), np.float32)
    weights[0] = [7, 8, 9]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "affine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = directory / "affine" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())
    return directory


class Server:
    """A server that can be started more than once, always at the same port. Its log goes to a file."""

    def __init__(self, repository: Path, *options: str, **environ: str) -> None:
        self.port = free_port()
        self.log_path = Path(tempfile.mkstemp(prefix="axon-", suffix=".log")[1])
        self._command = [sys.executable, "-m", "service.cli", "serve", str(repository), "--port", str(self.port), *options]
        self._environ = os.environ | {"PYTHONPATH": str(ROOT)} | environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self.log_path.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        """Its first process."""
        if self._process is None:
            raise RuntimeError("the server is not started")
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it is ready."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environ, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if time.monotonic() > deadline or self._process.poll() is not None:
                sys.exit(f"The server does not start:\n{self.log}")
            time.sleep(0.02)

    def is_ready(self) -> bool:
        """Ask it."""
        try:
            with urllib.request.urlopen(f"{self.url}/v2/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        status = self._process.wait(START_SECONDS)
        self._process = None
        return status

    def metric(self, name: str) -> float:
        """Return the sum of the samples of a metric."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}(\{{| )", line))


class Wrk:
    """A load on a URL that runs beside the script."""

    def __init__(self, url: str, *, seconds: float, connections: int = 16, options: Sequence[str] = ()) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as script:
            script.write(_LUA % {"body": ROW})
        self._script = Path(script.name)
        self._process = subprocess.Popen(
            [WRK, "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", script.name, *options, url],
            stdout=subprocess.PIPE,
            text=True,
        )

    def result(self) -> Load:
        """Wait for its end."""
        output, _ = self._process.communicate()
        self._script.unlink()
        match = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", output)
        if match is None:
            sys.exit(f"wrk gave no result:\n{output}")
        return Load(*(int(number) for number in match.groups()))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def tell(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
