"""Open thousands of connections that ask for nothing, and see whether others are served beside them.

    python tests/faults/connection_flood.py --connections 10000 --workers 1

Compares the load that a server takes without and with the flood, and its memory. Exits with 1 if a request failed. Needs wrk, and
descriptors: `ulimit -n`.
"""

import argparse
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path

from served import Load, Server, Wrk, make_repository, tell

SECONDS = 8.0


def flood(port: int, count: int) -> list[socket.socket]:
    """Open connections, from several addresses of loopback since one has only so many ports."""
    connections = []
    for number in range(count):
        connection = socket.socket()
        connection.bind((f"127.0.0.{2 + number // 5000}", 0))
        connection.connect(("127.0.0.1", port))
        connections.append(connection)
    return connections


def load(server: Server) -> tuple[Load, float]:
    """Put load on the server for a while; return what came of it, and the memory of the server in bytes."""
    return Wrk(server.url, seconds=SECONDS).result(), server.metric("process_resident_memory_bytes")


def main() -> None:
    """Measure without and with a flood."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--limit", type=int, default=10_000, help="max_connections of the server")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="axon-flood-") as scratch:
        server = Server(
            make_repository(Path(scratch) / "models"),
            "--workers",
            str(options.workers),
            AXON_MAX_CONNECTIONS=str(options.limit),
            AXON_HEADER_TIMEOUT="120",
        )
        server.start()
        quiet, quiet_memory = load(server)
        began = time.monotonic()
        connections = flood(server.port, options.connections)
        took = time.monotonic() - began
        flooded, flooded_memory = load(server)
        for connection in connections:
            connection.close()
        status = server.stop()
    rates = [result.requests / SECONDS for result in (quiet, flooded)]
    tell(
        f"{options.connections} idle connections in {took:.1f} s, {options.workers} worker(s), limit {options.limit}: "
        f"{rates[0]:.0f} requests/s before, {rates[1]:.0f} beside them; "
        f"{quiet.failed} and {flooded.failed} failed; "
        f"{(flooded_memory - quiet_memory) / 1e6:.0f} MB more memory; exit status {status}"
    )
    sys.exit(0 if quiet.failed == flooded.failed == status == 0 else 1)


main()
