"""What recording metrics costs: throughput of the smallest model with metrics and with an observer that does nothing.

    python tests/benchmarks/metrics_overhead.py --rounds 8

Both servers run on one core and wrk on another, one after the other and again. What counts is the CPU time of the server for a
request, on which other load of the machine has little influence: the throughput of a busy core is one over it. Prints the ratio of
each round and the median. With `--shared` the metrics are those of a worker, whose values other processes can read.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
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
mode = sys.argv.pop(1)
if mode == "off":
    for name in ("ran", "waited", "looked_up", "answered"):
        setattr(metrics.ModelMetrics, name, lambda *args, **kwargs: None)
elif mode == "shared":
    keep_values_in(Segment())
main()
"""
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


def serve(repository: Path, mode: str, core: int) -> tuple[subprocess.Popen[str], str]:
    """Start a server on a core; return it and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, mode, "serve", str(repository), "--port", "0"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    os.sched_setaffinity(process.pid, {core})
    assert process.stderr is not None
    url = ""
    for line in process.stderr:
        if match := re.search(r"listens on (http\S+)", line):
            url = match.group(1)
        if "models ready" in line:
            return process, url
    sys.exit("The server did not start.")


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """Return the CPU time that a process has had."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(server: tuple[subprocess.Popen[str], str], script: Path, *, core: int, seconds: float, connections: int) -> float:
    """Return requests a second of CPU time."""
    process, url = server
    before = cpu_seconds(process)
    command = ["-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", str(script), f"{url}/v2/models/mlp/infer"]
    output = subprocess.run(
        [shutil.which("taskset") or "taskset", "-c", str(core), shutil.which("wrk") or "wrk", *command],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Non-2xx" not in output, output
    match = re.search(r"(\d+) requests in", output)
    assert match is not None, output
    return int(match.group(1)) / (cpu_seconds(process) - before)


def main() -> None:
    """Compare both, alternating."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--shared", action="store_true")
    options = parser.parse_args()
    on = "shared" if options.shared else "on"
    with tempfile.TemporaryDirectory(prefix="axon-overhead-") as scratch:
        repository = make_repository(Path(scratch) / "models")
        script = Path(scratch) / "post.lua"
        script.write_text(LUA.replace('"x"', '"h0"'))
        servers = {mode: serve(repository, mode, core=0) for mode in ("off", on)}
        measure = {"core": 1, "seconds": options.seconds, "connections": options.connections}
        try:
            for server in servers.values():
                rate(server, script, **measure)
            ratios = []
            for number in range(options.rounds):
                order = ("off", on) if number % 2 else (on, "off")
                rates = {mode: rate(servers[mode], script, **measure) for mode in order}
                ratios.append(rates[on] / rates["off"])
                sys.stdout.write(f"{on} {rates[on]:.0f}, off {rates['off']:.0f} requests a CPU second, ratio {ratios[-1]:.3f}\n")
            began = time.perf_counter()
            with urllib.request.urlopen(servers[on][1] + "/metrics") as answer:
                size = len(answer.read())
            scrape = time.perf_counter() - began
        finally:
            for process, _ in servers.values():
                process.terminate()
                process.wait()
    sys.stdout.write(f"median ratio {statistics.median(ratios):.3f}; a scrape takes {scrape * 1e3:.1f} ms, {size} bytes\n")


main()
