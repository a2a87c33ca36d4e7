"""Kill the workers of a server one after another under load, and see what the connections of the others notice.

    python tests/faults/kill_workers.py --workers 3 --kills 10

Exits with 1 if a request on a connection of another worker failed, an answer was wrong or a 5xx, a new worker took longer than two
seconds, or the counts of the metrics do not add up. Needs wrk.
"""

import argparse
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from served import Server, Wrk, make_repository, tell

LONGEST_SECONDS = 2.0
PAUSE_SECONDS = 1.5


def workers_of(log: str) -> list[int]:
    """Return the processes that run, the longest running first."""
    ended = set(re.findall(r"\(process (\d+)\) ended", log))
    return [int(pid) for pid in re.findall(r"worker \d+ is process (\d+)", log) if pid not in ended]


def kill(server: Server) -> float:
    """Kill a worker and return the seconds until another one is ready in its place."""
    before = server.log.count("is ready to serve")
    began = time.monotonic()
    os.kill(workers_of(server.log)[0], signal.SIGKILL)
    while server.log.count("is ready to serve") == before:
        time.sleep(0.01)
    return time.monotonic() - began


def main() -> None:
    """Put load on a server and kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--connections", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="axon-kill-workers-") as scratch:
        server = Server(make_repository(Path(scratch) / "models"), "--workers", str(options.workers))
        server.start()
        seconds = options.kills * (PAUSE_SECONDS + LONGEST_SECONDS)
        load = Wrk(server.url, seconds=seconds, connections=options.connections)
        times = []
        for number in range(options.kills):
            time.sleep(PAUSE_SECONDS)
            times.append(kill(server))
            tell(f"kill {number + 1} of {options.kills}: another one is ready after {times[-1]:.2f} s")
        result = load.result()
        counted = server.metric("axon_inference_requests_total")
        restarts = server.metric("axon_worker_restarts_total")
        status = server.stop()
    # wrk opens a connection again when it is broken; a worker has its share of them, and all of them if it was long alone.
    most_broken = options.kills * options.connections
    lost = result.requests - counted
    tell(
        f"{options.kills} kills, {result.requests} requests: {result.refused} refused, {result.wrong} wrong, {result.late} late; "
        f"{result.broken} connections broken; another worker after {statistics.median(times):.2f} s in the median, "
        f"{max(times):.2f} s at most; {counted:.0f} requests counted, {restarts:.0f} restarts; exit status {status}"
    )
    well = result.refused == result.wrong == result.late == 0 and result.broken <= most_broken and max(times) <= LONGEST_SECONDS
    sys.exit(0 if well and lost <= 0 and restarts == options.kills and status == 0 else 1)


if __name__ == "__main__":
    main()
