"""What a model's clients notice while a model of 100 MB loads beside it, again and again.

    python tests/benchmarks/serving/load_beside.py --rounds 5

The server may use all CPUs, one of which it shares with its clients. They ask at a fixed rate, and latency counts from the moment
a request was due. In turns: some seconds in peace, some in which the large model is loaded and unloaded by calls. Prints both 99th
percentiles of each round, the medians and their ratio.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Self

import bodies
import graphs
import numpy as np
import onnx
from load import Loaded, Target
from onnx import TensorProto, helper, numpy_helper
from processes import Cpus, Server, axon

SIDE = 2560  # four square matrices of floats: 105 MB


def large() -> onnx.ModelProto:
    """Build a chain of large matrices."""
    generator = np.random.default_rng(0)
    weights = [numpy_helper.from_array(generator.random((SIDE, SIDE), dtype=np.float32), f"w{index}") for index in range(4)]
    names = ["x", "a", "b", "c", "y"]
    nodes = [helper.make_node("MatMul", [names[index], f"w{index}"], [names[index + 1]]) for index in range(4)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIDE]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", graphs.OPSET)], ir_version=10)


class Loading:
    """Loads and unloads the large model while it is entered."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat)
        self.times: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _repeat(self) -> None:
        while not self._ended.is_set():
            began = time.perf_counter()
            call(self._server, "load")
            self.times.append(time.perf_counter() - began)
            call(self._server, "unload")
            time.sleep(0.1)


def call(server: Server, action: str) -> None:
    """Load or unload the large model."""
    request = urllib.request.Request(server.url(f"/v2/repository/models/large/{action}"), data=b"{}", method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60):
        pass


def measure(target: Target, rate: float, seconds: float, seed: int) -> Loaded:
    """Ask the small model at a fixed rate."""
    return target.paced(connections=16, rate=rate, seconds=seconds, seed=seed)


def main() -> None:
    """Compare the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second")
    options = parser.parse_args()
    cpus = Cpus.choose()
    with tempfile.TemporaryDirectory(prefix="axon-bench-") as directory:
        place = Path(directory)
        graphs.write("cnn", place / "models")
        (place / "models" / "large" / "1").mkdir(parents=True)
        (place / "models" / "large" / "1" / "model.onnx").write_bytes(large().SerializeToString())
        with axon(place / "models", None, place, ["--model-control", "explicit"]) as server:
            call(server, "unload")
            target = Target(server, "/v2/models/cnn/infer", bodies.make("cnn", "json", 1), cpus.load, place)
            quiet, loading, loads = [], [], []
            for number in range(options.rounds):
                quiet.append(measure(target, options.rate, options.seconds, number))
                with Loading(server) as repeated:
                    loading.append(measure(target, options.rate, options.seconds, number))
                loads += repeated.times
                sys.stdout.write(f"p99 {quiet[-1].p99 * 1e3:.2f} ms, while a model loads {loading[-1].p99 * 1e3:.2f} ms\n")
                sys.stdout.flush()
    medians = [statistics.median(loaded.p99 for loaded in side) for side in (quiet, loading)]
    sys.stdout.write(
        f"medians {medians[0] * 1e3:.2f} and {medians[1] * 1e3:.2f} ms, ratio {medians[1] / medians[0]:.2f}; "
        f"{len(loads)} loads of {statistics.median(loads):.2f} s each\n"
    )


if __name__ == "__main__":
    main()
