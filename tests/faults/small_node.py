"""Serve under the limits of a small node, a control group of 1 CPU and 512 MB, with more callers than it can serve.

    python tests/faults/small_node.py --seconds 20

Prints the threads that are planned, the memory, and what was answered. Exits with 1 if more than one thread is planned, an answer
is neither 200 nor the 503 of a full queue, the group took more than its CPU, or a process was killed. Needs root and control
groups that this process may make.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from cgroup import ControlGroup

from service.repository.samples import Samples

ROOT = Path(__file__).parents[2]
MEGABYTE = 1_000_000
PATIENCE = 60.0  # seconds for the start, and for an answer
TOLERANCE = 1.05  # of the CPU time: the kernel counts in periods
HOST_CPUS = 64  # that the plan is told of: on a host with a single one no limit would be seen


class Caller(threading.Thread):
    """Asks without a pause; counts the answers by status, and what came instead of one by its error."""

    def __init__(self, port: int, path: str, body: bytes, over: threading.Event) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._path, self._body, self._over = path, body, over
        self.answers: Counter[str] = Counter()

    def run(self) -> None:
        """Ask until it is over."""
        while not self._over.is_set():
            try:
                self._connection.request("POST", self._path, body=self._body)
                response = self._connection.getresponse()
                response.read()
                self.answers[str(response.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[repr(error)] += 1
                self._connection.close()


def request_body(model: str, rows: int) -> bytes:
    """Repeat a sample of the model until there are `rows` of it."""
    version = max((ROOT / "models" / model).glob("[0-9]*"), key=lambda path: int(path.name))
    samples = Samples.read(version)
    if samples is None:
        sys.exit(f"{version} has no samples.")
    datatypes = {
        entry["name"]: entry["datatype"] for entry in json.loads((version / "manifest.json").read_bytes())["signature"]["inputs"]
    }
    inputs = [
        {
            "name": name,
            "datatype": datatypes[name],
            "shape": [rows, *array.shape[1:]],
            "data": array[:1].repeat(rows, axis=0).tolist(),
        }
        for name, array in samples.inputs.items()
    ]
    return json.dumps({"inputs": inputs}).encode()


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the models serve."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    sys.exit("The server did not become ready.")


def load(port: int, options: argparse.Namespace) -> Counter[str]:
    """Ask from many threads for a while."""
    over = threading.Event()
    body = request_body(options.model, options.rows)
    callers = [Caller(port, f"/v2/models/{options.model}/infer", body, over) for _ in range(options.callers)]
    for caller in callers:
        caller.start()
    time.sleep(options.seconds)
    over.set()
    answers: Counter[str] = Counter()
    for caller in callers:
        caller.join()
        answers += caller.answers
    return answers


def serve_and_load(group: ControlGroup, options: argparse.Namespace) -> list[str]:
    """Run the server in the group, under load; return what was wrong."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2", "AXON_LOG_LEVEL": "warning"}
    plan = f"from service.inference.threads import available_cpus; print(available_cpus(affinity={HOST_CPUS}))"
    threads = int(subprocess.check_output(group.command([sys.executable, "-c", plan]), env=environment))
    arguments = ["-m", "service.cli", "serve", str(ROOT / "models"), "--port", str(options.port), "--no-grpc"]
    process = subprocess.Popen(group.command([sys.executable, *arguments]), env=environment)
    try:
        wait_until_ready(process, options.port)
        idle = group.peak_bytes()
        before, started = cpu_seconds(process.pid), time.monotonic()
        answers = load(options.port, options)
        share = (cpu_seconds(process.pid) - before) / (time.monotonic() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=PATIENCE)
    peak, kills = group.peak_bytes(), group.kills()
    sys.stdout.write(
        f"threads planned: {threads}, on a host of {HOST_CPUS} CPUs\n"
        f"CPUs used: {share:.2f}, held back in {group.throttled()} periods of 0.1 s\n"
        f"memory of the group at its most: {idle / MEGABYTE:.0f} MB when ready, {peak / MEGABYTE:.0f} MB under load\n"
        f"processes killed: {kills}; exit status of the server: {status}\nanswers: {dict(answers)}\n"
    )
    wrong = {
        f"{threads} threads are planned": threads != options.cpus,
        f"{share:.2f} CPUs were used": share > options.cpus * TOLERANCE,
        f"{kills} processes were killed": kills > 0,
        f"the server ended with {status}": status != 0,
        f"answers other than 200 and 503: {dict(answers)}": bool(answers.keys() - {"200", "503"}),
        "nothing was answered": answers["200"] == 0,
    }
    return [text for text, is_so in wrong.items() if is_so]


def main() -> None:
    """Serve under load in a control group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--memory", type=int, default=512, help="MB")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--model", default="fashion_mnist_cnn")
    parser.add_argument("--rows", type=int, default=64, help="of a request")
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    try:
        group = ControlGroup.make(f"axon-small-node-{os.getpid()}", cpus=options.cpus, memory_bytes=options.memory * MEGABYTE)
    except OSError as error:
        sys.exit(f"This process may not make a control group: {error}.")
    try:
        problems = serve_and_load(group, options)
    finally:
        group.remove()
    sys.exit("\n".join(problems) if problems else None)


if __name__ == "__main__":
    main()
