"""Restart two servers behind haproxy, one after another and again, under load: no request may fail.

    python tests/faults/rolling_restart.py --restarts 5 --requests 100000 --workers 1

haproxy asks each server ten times a second whether it is ready, and retries nothing. Needs haproxy and wrk. Exits with 1 if a
request failed, an answer was wrong, or a server did not end with 0.
"""

import argparse
import csv
import io
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from served import NOTHING, Load, Server, Wrk, free_port, make_repository, tell

SHUTDOWN_DELAY = 3.0  # seconds; haproxy notices after two of its questions, which on a busy machine take their time
MOST_SECONDS = 600.0
CHUNK_SECONDS = 10.0
CONFIGURATION = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout check 2s
    retries 0
frontend service
    bind 127.0.0.1:{port}
    default_backend servers
frontend view
    bind 127.0.0.1:{view}
    stats enable
    stats uri /stats
backend servers
    balance roundrobin
    option httpchk GET /v2/health/ready
    default-server inter 100ms fall 2 rise 1
    server one 127.0.0.1:{one} check
    server two 127.0.0.1:{two} check
"""


class Steady(threading.Thread):
    """Load, one run of wrk after another, until told to stop."""

    def __init__(self, url: str, *, requests: int) -> None:
        super().__init__()
        self._url = url
        self._requests = requests
        self.enough = threading.Event()
        self.total: Load = NOTHING

    def run(self) -> None:
        """Go on until it is enough, and for as many requests as were asked for."""
        while not self.enough.is_set() or self.total.requests < self._requests:
            self.total += Wrk(self._url, seconds=CHUNK_SECONDS).result()
            tell(f"  {self.total.requests} requests, {self.total.failed} failed")


def wait_until_used(view: int, name: str) -> None:
    """Wait until haproxy has seen that a server is ready; to stop the other one before that would leave none."""
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{view}/stats;csv", timeout=10) as answer:
            rows = list(csv.DictReader(io.TextIOWrapper(answer, "utf-8")))
        if any(row["# pxname"] == "servers" and row["svname"] == name and row["status"] == "UP" for row in rows):
            return
        time.sleep(0.05)
    sys.exit(f"haproxy never saw server {name} ready.")


def restart(server: Server) -> tuple[int, float]:
    """Restart a server; return its exit status and the seconds until it was ready again."""
    began = time.monotonic()
    status = server.stop()
    server.start()
    return status, time.monotonic() - began


def main() -> None:
    """Put load on both servers through haproxy, and restart them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if haproxy is None or shutil.which("wrk") is None:
        sys.exit("haproxy and wrk must be installed.")
    with tempfile.TemporaryDirectory(prefix="axon-rolling-") as scratch:
        repository = make_repository(Path(scratch) / "models")
        servers = [
            Server(repository, "--workers", str(options.workers), AXON_SHUTDOWN_DELAY=str(SHUTDOWN_DELAY), AXON_LOG_LEVEL="warning")
            for _ in range(2)
        ]
        for server in servers:
            server.start()
        port, view = free_port(), free_port()
        configuration = Path(scratch) / "haproxy.cfg"
        configuration.write_text(CONFIGURATION.format(port=port, view=view, one=servers[0].port, two=servers[1].port))
        proxy = subprocess.Popen([haproxy, "-q", "-db", "-f", str(configuration)])
        try:
            time.sleep(1)
            load = Steady(f"http://127.0.0.1:{port}", requests=options.requests)
            load.start()
            time.sleep(1)
            statuses, times = [], []
            for number in range(options.restarts):
                for name, server in zip(("one", "two"), servers, strict=True):
                    status, took = restart(server)
                    wait_until_used(view, name)
                    statuses.append(status)
                    times.append(took)
                tell(f"round {number + 1} of {options.restarts}: exit statuses {statuses[-2:]}, ready again after {took:.1f} s")
            load.enough.set()
            load.join(MOST_SECONDS)
        finally:
            proxy.terminate()
            proxy.wait()
            for server in servers:
                server.stop()
    total = load.total
    tell(
        f"{2 * options.restarts} restarts, {total.requests} requests: {total.refused} refused, {total.wrong} wrong, "
        f"{total.broken} connections broken, {total.late} late; ready again after {min(times):.1f} to {max(times):.1f} s"
    )
    sys.exit(0 if total.failed == 0 and set(statuses) == {0} and total.requests >= options.requests else 1)


main()
