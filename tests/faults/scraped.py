"""A real Prometheus scrapes a server of two workers under load: are its sums what the clients counted, have all panels data.

    python tests/faults/scraped.py --requests 60000 --screenshot panels.png

Clients count every answer by its status; after the last one Prometheus' counters must be equal to that, exactly. Then every query
of the dashboard is asked through Prometheus' API, at a time within the load. Exits with 1 if a count differs, a query fails, or one
gives nothing (but for those that show what is not there: a limit of memory that is not set, providers that are missing).

Needs Prometheus, as Debian packages it, on the PATH; with --screenshot also Chromium.
"""

import argparse
import http.client
import json
import math
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from served import ROOT, Server, free_port, make_repository, tell

MONITORING = ROOT / "deploy" / "monitoring"
PREDICT = "/v2/models/affine/infer"
ONE = '{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'
THREE = '{"inputs":[{"name":"x","shape":[3,4],"datatype":"FP32","data":[1,2,3,4,1,2,3,4,1,2,3,4]}]}'
# What clients send in turn: a path, a body, and what the server is to count it as; None is not counted for a model.
CALLS: list[tuple[str, str, tuple[str, str] | None]] = [
    (PREDICT, ONE, ("ok", "")),
    (PREDICT, ONE, ("ok", "")),
    (PREDICT, THREE, ("ok", "")),
    ("/v1/models/affine:predict", '{"instances":[[1,2,3,4]]}', ("ok", "")),
    (PREDICT, ONE.replace("FP32", "INT8"), ("invalid", "signature_mismatch")),
    (PREDICT, "{", ("invalid", "malformed_body")),
    (PREDICT.replace("affine", "nothing"), ONE, None),
]
ROWS = {ONE: 1, THREE: 3, CALLS[3][1]: 1}
# Queries about what need not be there.
MAY_BE_EMPTY = ("axon_model_missing_providers", "axon_cgroup_")
PANELS = (
    "sum by (outcome, reason) (rate(axon_inference_requests_total[10s]))",
    "histogram_quantile(0.99, sum by (le) (rate(axon_inference_request_duration_seconds_bucket[10s])))",
    "sum by (reason) (rate(axon_inference_runs_total[10s]))",
    "sum by (instance) (process_resident_memory_bytes)",
)


class Client(threading.Thread):
    """Asks on one connection, `requests` times, and counts."""

    def __init__(self, port: int, requests: int) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._requests = requests
        self.counts: Counter[tuple[str, str]] = Counter()
        self.rows = 0
        self.failures: list[str] = []

    def run(self) -> None:
        """Ask."""
        for number in range(self._requests):
            path, body, kind = CALLS[number % len(CALLS)]
            self._connection.request("POST", path, body=body)
            response = self._connection.getresponse()
            content = response.read()
            expected = 404 if kind is None else 200 if kind[0] == "ok" else 400
            if response.status != expected:
                self.failures.append(f"{response.status} for {body}: {content[:200]!r}")
            elif kind is not None:
                self.counts[kind] += 1
                self.rows += ROWS.get(body, 0)
        self._connection.close()


class Prometheus:
    """A Prometheus of its own over one server."""

    def __init__(self, directory: Path, target: int) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(MONITORING / "rules" / "*.yaml")],
            "scrape_configs": [{"job_name": "axon", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
        }
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        command = [shutil.which("prometheus") or sys.exit("There is no prometheus on the PATH.")]
        command += [f"--config.file={directory}/prometheus.yaml", f"--storage.tsdb.path={directory}/data"]
        with (directory / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)

    def ask(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        fields = {"query": query} | ({} if at is None else {"time": str(at)})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{urllib.parse.urlencode(fields)}", timeout=30) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def wait(self) -> None:
        """Wait until it has scraped the server."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if any(result["value"][1] == "1" for result in self.ask("up")):
                    return
            except OSError:
                pass
            time.sleep(0.2)
        sys.exit("Prometheus does not scrape the server.")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)


def load(port: int, requests: int, clients: int) -> list[Client]:
    """Have the clients ask."""
    threads = [Client(port, requests // clients) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return threads


def compared(prometheus: Prometheus, threads: list[Client]) -> bool:
    """Compare the counts of Prometheus and of the clients."""
    wanted: Counter[tuple[str, str]] = Counter()
    for thread in threads:
        wanted.update(thread.counts)
    found = {
        (result["metric"]["outcome"], result["metric"].get("reason", "")): int(float(result["value"][1]))
        for result in prometheus.ask('sum by (outcome, reason) (axon_inference_requests_total{model="affine"}) > 0')
    }
    rows = int(float(prometheus.ask('sum(axon_inference_rows_total{model="affine"})')[0]["value"][1]))
    timed = int(float(prometheus.ask('sum(axon_inference_request_duration_seconds_count{model="affine"})')[0]["value"][1]))
    for kind, count in sorted(wanted.items()):
        tell(f"  {' '.join(kind):28} clients {count:7} Prometheus {found.get(kind, 0):7}")
    sent = sum(thread.rows for thread in threads)
    tell(f"  {'rows':28} clients {sent:7} Prometheus {rows:7}")
    tell(f"  {'durations':28} clients {sum(wanted.values()):7} Prometheus {timed:7}")
    return found == dict(wanted) and rows == sent and timed == sum(wanted.values())


def all_have_data(prometheus: Prometheus, at: float) -> bool:
    """Ask all that the dashboard asks."""
    dashboard = json.loads((MONITORING / "dashboards" / "axon.json").read_text(encoding="utf-8"))
    asked, empty, excused = 0, [], []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "10s")
            for name in ("job", "instance", "model"):
                query = query.replace(f"${name}", ".*")
            results = prometheus.ask(query, at)
            asked += 1
            if not any(math.isfinite(float(result["value"][1])) for result in results):
                (excused if any(name in query for name in MAY_BE_EMPTY) else empty).append(f"{panel['title']}: {query}")
    tell(
        f"{asked} queries of the dashboard: {asked - len(empty) - len(excused)} give data, {len(excused)} ask for what is not there"
    )
    for line in (*excused, *empty):
        tell(f"  nothing for {line}")
    return not empty


def take_screenshot(prometheus: Prometheus, path: Path) -> None:
    """Save what Prometheus' own page shows of some panels."""
    fields: dict[str, str] = {}
    for number, query in enumerate(PANELS):
        fields |= {f"g{number}.expr": query, f"g{number}.tab": "0", f"g{number}.range_input": "2m"}
    url = f"{prometheus.url}/graph?{urllib.parse.urlencode(fields)}"
    command = [shutil.which("chromium") or "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--screenshot={path.resolve()}", "--window-size=1400,3300", "--virtual-time-budget=20000", url]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    tell(f"screenshot in {path}, {path.stat().st_size} bytes")


def main() -> None:
    """Scrape, ask, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60_000)  # long enough for two looks of Prometheus
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--screenshot", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="axon-scraped-") as scratch:
        repository = make_repository(Path(scratch) / "models")
        (repository / "affine" / "model.toml").write_text("[batching]\nbatch_sizes = [1, 2, 4, 8, 16, 32, 64]\n", encoding="utf-8")
        shutil.copytree(repository / "affine", repository / "kept")
        (repository / "kept" / "model.toml").write_text("[cache]\nmax_bytes = 1000000\n", encoding="utf-8")
        server = Server(repository, "--workers", "2", AXON_GRPC_PORT="0")
        server.start()
        prometheus = Prometheus(Path(scratch), server.port)
        try:
            prometheus.wait()
            over = threading.Event()
            beside = threading.Thread(target=ask_the_cache, args=(server.port, over))
            beside.start()
            began = time.time()
            threads = load(server.port, options.requests, options.clients)
            ended = time.time()
            over.set()
            beside.join()
            time.sleep(4)  # scrapes
            failures = [failure for thread in threads for failure in thread.failures]
            tell(
                f"{options.requests // options.clients * options.clients} requests in {ended - began:.1f} s, {len(failures)} failed"
            )
            tell("\n".join(failures[:5]))
            well = compared(prometheus, threads) and not failures
            well = all_have_data(prometheus, ended - 1) and well
            if options.screenshot is not None:
                take_screenshot(prometheus, options.screenshot)
        finally:
            prometheus.stop()
            status = server.stop()
    sys.exit(0 if well and status == 0 else 1)


def ask_the_cache(port: int, over: threading.Event) -> None:
    """Ask the same thing again and again, so that there is something to find."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not over.wait(0.05):
        connection.request("POST", PREDICT.replace("affine", "kept"), body=ONE)
        connection.getresponse().read()
    connection.close()


if __name__ == "__main__":
    main()
