"""Swap the version of a model again and again under constant load, and watch answers and memory.

    python tests/faults/swaps.py --swaps 1000

Every swap publishes the next version of a model that multiplies by its version number, and removes the one before the last. Every
answer must be 200 and that of the version it names. Prints resident memory and the size of the metrics along the way; exits with 1
if a request failed, an answer was wrong, or the least of one of these in the second half of the swaps is more than 10 % above that
in the first half. The least: what a run or an old version needs for a moment comes on top, and goes again.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from service.repository.layout import GRAPH_NAME, publish, staged
from service.repository.signature import Signature, TensorSpec

ROOT = Path(__file__).parents[2]
SIGNATURE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=(TensorSpec("y", "FP32", (-1, 2)),))
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}]})
PATIENCE = 60.0  # seconds that a swap may take
WEIGHTS = 1 << 20  # numbers that every version holds for nothing, so that a leak shows
EVERY, GROWTH = 50, 1.1


def graph(scale: int) -> bytes:
    """Build y = scale x, with 4 MB of weights beside it."""
    nodes = [
        helper.make_node("ReduceSum", ["weights"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["scale", "nothing"], ["factor"]),
        helper.make_node("Mul", ["x", "factor"], ["y"]),
    ]
    tensors = {
        "weights": np.full(WEIGHTS, scale, dtype=np.float32),
        "zero": np.zeros(1, dtype=np.float32),
        "scale": np.array([scale], dtype=np.float32),
    }
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy"]
    constants = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    model = helper.make_graph(nodes, "swap", value[:1], value[1:], constants)
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def publish_next(model: Path, scale: int) -> None:
    """Publish the next version."""
    with staged(model) as staging:
        (staging / GRAPH_NAME).write_bytes(graph(scale))
        publish(staging, model, signature=SIGNATURE)


class Server:
    """`axon serve` in watch mode, and the lines of its log."""

    def __init__(self, repository: Path, options: list[str]) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "AXON_WATCH_INTERVAL": "1"}
        arguments = ["serve", str(repository), "--port", "0", "--model-control", "watch", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", *arguments], env=environment, stderr=subprocess.PIPE, text=True
        )
        self._news = threading.Condition()
        self._lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.port = int(self.wait_for(r"listens on http://127\.0\.0\.1:(\d+)").group(1))

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line, and drop it and those before."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            for index, line in enumerate(self._lines):
                if match := re.search(pattern, line):
                    found.append(match)
                    del self._lines[: index + 1]
                    return True
            return self.process.poll() is not None

        with self._news:
            self._news.wait_for(look, timeout=PATIENCE)
        if not found:
            sys.exit(f"The log never said {pattern!r}:\n{''.join(self._lines[-20:])}")
        return found[0]

    def resident(self) -> float:
        """Return the resident memory of the process, in MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def exposition(self) -> int:
        """Return the size of the metrics, in bytes."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE) as answer:
            return len(answer.read())

    def _read(self) -> None:
        for line in self.process.stderr or ():
            with self._news:
                self._lines.append(line)
                self._news.notify_all()


class Client(threading.Thread):
    """Asks without a pause on one connection; counts what was asked and what went wrong."""

    def __init__(self, port: int, over: threading.Event) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._over = over
        self.asked = 0
        self.failed: list[str] = []

    def run(self) -> None:
        """Ask until it is over."""
        while not self._over.is_set():
            self.asked += 1
            try:
                self._ask()
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.failed.append(repr(error))
                self._connection.close()

    def _ask(self) -> None:
        self._connection.request("POST", "/v2/models/m/infer", body=BODY)
        response = self._connection.getresponse()
        content = response.read()
        answer = json.loads(content)
        if response.status != http.client.OK or answer["outputs"][0]["data"] != [float(answer["model_version"])] * 2:
            self.failed.append(f"{response.status} {content[:200]!r}")


def swap(server: Server, model: Path, swaps: int) -> tuple[list[float], list[float]]:
    """Swap, and return the resident memory and the size of the metrics after each `EVERY` swaps."""
    resident, shown = [], []
    for version in range(2, swaps + 2):
        publish_next(model, version)
        server.wait_for(f"model m version {version} ready")
        shutil.rmtree(model / str(version - 1))
        if (version - 1) % EVERY == 0:
            resident.append(server.resident())
            shown.append(float(server.exposition()))
            sys.stdout.write(f"after {version - 1} swaps: {resident[-1]:.1f} MB, {shown[-1] / 1e3:.0f} kB of metrics\n")
            sys.stdout.flush()
    return resident, shown


def grew(sizes: list[float]) -> bool:
    """Tell whether the least of the second half is far above that of the first."""
    half = len(sizes) // 2
    return half > 0 and min(sizes[half:]) > GROWTH * min(sizes[:half])


def main() -> None:
    """Swap under load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("serve", nargs="*", help="further options of `axon serve`, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="axon-swaps-") as root:
        model = Path(root) / "m"
        publish_next(model, 1)
        server = Server(Path(root), options.serve)
        try:
            server.wait_for("version 1 ready")
            over = threading.Event()
            clients = [Client(server.port, over) for _ in range(options.clients)]
            for client in clients:
                client.start()
            try:
                measured = swap(server, model, options.swaps)
            finally:
                over.set()
                for client in clients:
                    client.join()
        finally:
            server.process.terminate()
            status = server.process.wait(PATIENCE)
    failed = [failure for client in clients for failure in client.failed]
    sys.stdout.write(f"{sum(client.asked for client in clients)} requests, {len(failed)} failed or wrong; exit status {status}\n")
    sys.stdout.writelines(f"  {failure}\n" for failure in failed[:10])
    sys.exit(1 if failed or status or any(grew(sizes) for sizes in measured) else 0)


if __name__ == "__main__":
    main()
