"""What it costs to be seen: metrics, spans and the access log, and a server without them.

    python tests/benchmarks/observability_overhead.py --rounds 8

All servers run on one core and wrk on another, one after the other and again, in an order that turns. What counts is the CPU time
of the server for a request of the smallest model, on which other load of the machine has little influence: the throughput of a busy
core is one over it. Prints for each way the median of the ratios of its rounds: of metrics to an observer that does nothing, of
everything else to metrics alone, as by default. Spans go to a receiver that takes them and looks at nothing; what is made faster
than it is sent is dropped, as the standard has it.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[2]
SERVE = """
import sys
from service.cli import main
from service.observability import metrics
from service.observability.shared_values import Segment, keep_values_in
recorded = sys.argv.pop(1)
if recorded == "off":
    for name in ("ran", "looked_up", "answered"):
        setattr(metrics.ModelMetrics, name, lambda *args, **kwargs: None)
elif recorded == "shared":
    metrics.keep_values_here = lambda: keep_values_in(Segment())
main()
"""
DEFAULT = "metrics, as by default"
# How metrics are recorded, further options, and what it is compared with.
WAYS: dict[str, tuple[str, list[str], str]] = {
    "no metrics": ("off", [], ""),
    DEFAULT: ("on", [], "no metrics"),
    "metrics of a worker": ("shared", [], "no metrics"),
    "spans of 1%": ("on", ["--tracing-endpoint", "RECEIVER", "0.01"], DEFAULT),
    "spans of 100%": ("on", ["--tracing-endpoint", "RECEIVER", "1"], DEFAULT),
    "access log": ("on", ["--access-log"], DEFAULT),
    "access log in JSON": ("on", ["--access-log", "--log-format", "json"], DEFAULT),
}
BODY = '{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'
LUA = f"wrk.method = 'POST'\nwrk.body = '{BODY}'\n"


def make_repository(directory: Path) -> Path:
    """Write a perceptron of 4, 16, 16 and 3 units."""
    generator = np.random.default_rng(0)
    sizes = (4, 16, 16, 3)
    weights = [generator.normal(size=pair).astype(np.float32) for pair in pairwise(sizes)]
    nodes = [helper.make_node("MatMul", [f"h{number}", f"w{number}"], [f"h{number + 1}"]) for number in range(3)]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("h0", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("h3", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(array, f"w{number}") for number, array in enumerate(weights)],
    )
    path = directory / "mlp" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString())
    return directory


class Receiver(BaseHTTPRequestHandler):
    """Takes spans."""

    protocol_version = "HTTP/1.1"
    received = 0

    def do_POST(self) -> None:
        """Read them."""
        Receiver.received += len(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class Server:
    """A server on a core, whose log goes to a file."""

    def __init__(self, repository: Path, way: str, receiver: str, core: int) -> None:
        recorded, options, _ = WAYS[way]
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        if "RECEIVER" in options:
            environ["AXON_TRACING_SAMPLE_RATIO"] = options[-1]
            options = [options[0], receiver]
        self._log = Path(tempfile.mkstemp(prefix="axon-overhead-", suffix=".log")[1])
        command = [sys.executable, "-c", SERVE, recorded, "serve", str(repository), "--port", "0", "--no-grpc", *options]
        with self._log.open("wb") as stream:
            self._process = subprocess.Popen(command, env=environ, stderr=stream)
        os.sched_setaffinity(self._process.pid, {core})
        deadline = time.monotonic() + 60
        while "models ready" not in (text := self._log.read_text(encoding="utf-8")):
            if time.monotonic() > deadline or self._process.poll() is not None:
                sys.exit(f"The server does not start:\n{text}")
            time.sleep(0.1)
        match = re.search(r"listens on (http:[^\s\"]+)", text)
        if match is None:
            sys.exit(f"The server does not say where it listens:\n{text}")
        self._url = match.group(1)

    def rate(self, script: Path, *, core: int, seconds: float, connections: int) -> float:
        """Return requests a second of CPU time."""
        before = self._cpu_seconds()
        command = ["-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", str(script), f"{self._url}/v2/models/mlp/infer"]
        output = subprocess.run(
            [shutil.which("taskset") or "taskset", "-c", str(core), shutil.which("wrk") or "wrk", *command],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "Non-2xx" not in output, output
        match = re.search(r"(\d+) requests in", output)
        assert match is not None, output
        return int(match.group(1)) / max(self._cpu_seconds() - before, 1 / os.sysconf("SC_CLK_TCK"))

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._log.unlink()

    def _cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Compare all, turning."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="axon-overhead-") as scratch:
        repository = make_repository(Path(scratch) / "models")
        script = Path(scratch) / "post.lua"
        script.write_text(LUA.replace('"x"', '"h0"'))
        servers = {way: Server(repository, way, f"http://127.0.0.1:{receiver.server_port}", core=0) for way in WAYS}
        try:
            for server in servers.values():
                server.rate(script, core=1, seconds=1, connections=options.connections)
            for number in range(options.rounds):
                ways = list(WAYS)
                for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                    rates[way].append(servers[way].rate(script, core=1, seconds=options.seconds, connections=options.connections))
        finally:
            for server in servers.values():
                server.stop()
            receiver.shutdown()
    for way, (_, _, base) in WAYS.items():
        ratios = [rate / other for rate, other in zip(rates[way], rates[base or way], strict=True)]
        line = f"{way:24} {statistics.median(rates[way]):6.0f} requests a CPU second"
        compared = f", {statistics.median(ratios):.3f} of {base} ({min(ratios):.3f} to {max(ratios):.3f})" if base else ""
        sys.stdout.write(f"{line}{compared}\n")
    sys.stdout.write(f"{Receiver.received / 1e6:.1f} MB of spans received\n")


if __name__ == "__main__":
    main()
