"""A bounded load, and everything that goes wrong in a month: is every request answered rightly, is memory flat, does it recover.

    python tests/faults/chaos.py --minutes 30

Clients ask a server of several workers at a steady pace and look at every answer: it must be that of the version that it names.
Meanwhile, in a random order that --seed repeats: workers are killed, workers stand still for five seconds, new versions and damaged
ones arrive, clients vanish with their request half or wholly sent, clients send a byte at a time, bodies come that are too large,
and so many large ones at once that the memory for bodies is used up.

A request that a worker had when it was killed cannot be answered: its client sees the connection end. So no more of them may be
lost than there are clients for each kill. While large bodies fill the memory a request may be put off, with a 503 that says so.
Exits with 1 if more are lost, one is refused for another reason or late, an answer is wrong, an oversized body
is not refused, memory grows by more than a fifth from the first to the last third, or the server is not whole again five seconds
later.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kill_workers import workers_of
from served import Server, tell
from swaps import BODY, publish_next

PATH = "/v2/models/m/infer"
LATE = 20.0  # seconds; a worker stands still for 5
PACE = 0.02  # seconds between the requests of a client
BODY_LIMIT = 1_000_000
ROOM = 4_000_000  # for the bodies of each worker
FLOOD = 24  # large bodies at once
STOPPED_SECONDS = 5.0
RECOVERY_SECONDS = 5.0
GROWTH = 1.2
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {{}}\r\n\r\n"


class Client(threading.Thread):
    """Asks at a steady pace on one connection at a time, and counts what comes of it."""

    def __init__(self, port: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._over = over
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []

    def run(self) -> None:
        """Ask until it is over."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LATE)
        while not self._over.wait(PACE):
            kind = "lost"
            try:
                kind = self._ask(connection)
            except TimeoutError:
                kind = "late"
            except (OSError, http.client.HTTPException) as error:
                self.examples.append(f"lost: {error!r}")
            if kind != "right":
                connection.close()
            self.counts[kind] += 1
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        connection.request("POST", PATH, body=BODY)
        response = connection.getresponse()
        content = response.read()
        if response.status == http.client.SERVICE_UNAVAILABLE and json.loads(content)["code"] == "overloaded":
            return "put off"
        if response.status != http.client.OK:
            self.examples.append(f"{response.status} {content[:200]!r}")
            return "refused"
        answer = json.loads(content)
        if answer["outputs"][0]["data"] != [float(answer["model_version"])] * 2:
            self.examples.append(f"wrong: {content[:200]!r}")
            return "wrong"
        return "right"


class Faults:
    """What goes wrong. Each method is one event; most take no longer than it takes to begin."""

    def __init__(self, server: Server, model: Path, dice: random.Random) -> None:
        self._server = server
        self._model = model
        self._dice = dice
        self.counts: Counter[str] = Counter()
        self.accepted: list[str] = []
        self.events: dict[str, Callable[[], None]] = {
            "kill -9": self._kill,
            "stop for 5 s": self._stop,
            "new version": self._publish,
            "damaged version": self._damage,
            "client vanishes": self._vanish,
            "slow client": self._dawdle,
            "oversized body": self._send_too_much,
            "no memory left": self._flood,
        }

    def happen(self) -> None:
        """Let one thing go wrong."""
        name = self._dice.choice(list(self.events))
        self.counts[name] += 1
        self.events[name]()

    def _worker(self) -> int:
        return self._dice.choice(workers_of(self._server.log))

    def _kill(self) -> None:
        before = self._server.log.count("is ready to serve")
        os.kill(self._worker(), signal.SIGKILL)
        deadline = time.monotonic() + LATE
        while self._server.log.count("is ready to serve") == before and time.monotonic() < deadline:
            time.sleep(0.05)

    def _stop(self) -> None:
        pid = self._worker()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        os.kill(pid, signal.SIGCONT)

    def _versions(self) -> list[int]:
        return sorted(int(path.name) for path in self._model.iterdir() if path.name.isdecimal())

    def _publish(self) -> None:
        versions = self._versions()
        publish_next(self._model, versions[-1] + 1)
        for version in versions[:-1]:
            shutil.rmtree(self._model / str(version))

    def _damage(self) -> None:
        newest = self._versions()[-1]
        copy = self._model.parent.parent / "damaged"
        shutil.copytree(self._model / str(newest), copy)
        graph = copy / "model.onnx"
        content = bytearray(graph.read_bytes())
        content[self._dice.randrange(len(content))] ^= 0xFF
        graph.write_bytes(content)
        copy.rename(self._model / str(newest + 1))

    def _connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._server.port), timeout=LATE)

    def _vanish(self) -> None:
        request = (HEAD.format(len(BODY)) + BODY).encode()
        for _ in range(20):
            with self._connection() as connection:
                connection.sendall(request[: self._dice.choice((len(request), len(request) // 2, 10))])
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
                )  # a reset, no goodbye

    def _dawdle(self) -> None:
        def send(connection: socket.socket) -> None:
            try:
                with connection:
                    for byte in (HEAD.format(len(BODY)) + BODY).encode():
                        connection.sendall(bytes([byte]))
                        time.sleep(0.1)
            except OSError:
                pass  # the server has had enough of it

        for _ in range(5):
            threading.Thread(target=send, args=(self._connection(),), daemon=True).start()

    def _send_too_much(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=LATE)
        chunked = self._dice.random() < 0.5
        body = iter([b" " * 100_000] * 20) if chunked else b" " * (BODY_LIMIT + 1)
        try:
            connection.request("POST", PATH, body=body, encode_chunked=chunked)
            status = connection.getresponse().status
        except (BrokenPipeError, ConnectionResetError):
            status = http.client.REQUEST_ENTITY_TOO_LARGE  # refused and closed before all of it was sent
        connection.close()
        if status != http.client.REQUEST_ENTITY_TOO_LARGE:
            self.accepted.append(f"an oversized body got {status}")

    def _flood(self) -> None:
        """Send more at once than the server has memory for: each body is refused for that, or read and found to be no request."""

        def send() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=LATE)
            try:
                connection.request("POST", PATH, body=b" " * (BODY_LIMIT - 1))
                status = connection.getresponse().status
            except TimeoutError:
                status = 0
            except (OSError, http.client.HTTPException):
                return  # refused and closed before all of it was sent, or the worker was killed before
            finally:
                connection.close()
            if status not in (http.client.BAD_REQUEST, http.client.SERVICE_UNAVAILABLE):
                self.accepted.append(f"a large body of blanks got {status or 'no answer'}")

        senders = [threading.Thread(target=send, daemon=True) for _ in range(FLOOD)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()


def let_happen(server: Server, faults: Faults, *, seconds: float, pause: float) -> list[float]:
    """Let things go wrong, and return the memory of all processes along the way, in MB."""
    resident: list[float] = []
    deadline = time.monotonic() + seconds
    told = time.monotonic()
    while time.monotonic() < deadline:
        faults.happen()
        time.sleep(pause)
        resident.append(server.metric("process_resident_memory_bytes") / 1e6)
        if time.monotonic() - told > 30:
            told = time.monotonic()
            tell(f"  {deadline - told:.0f} s to go, {resident[-1]:.0f} MB, {sum(faults.counts.values())} faults")
    return resident


def is_whole(server: Server, workers: int) -> bool:
    """Whether all workers run and the server is ready, within the time for recovery."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while time.monotonic() < deadline:
        if server.is_ready() and server.metric("axon_workers") == workers:
            return True
        time.sleep(0.1)
    return False


def main() -> None:
    """Put load on a server and let things go wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--pause", type=float, default=1.5, help="seconds between faults")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="axon-chaos-") as scratch:
        model = Path(scratch) / "models" / "m"
        publish_next(model, 1)
        limits = {"AXON_MAX_BODY_SIZE": str(BODY_LIMIT), "AXON_MAX_PENDING_BYTES": str(ROOM)}
        limits |= {"AXON_HEADER_TIMEOUT": "3", "AXON_WATCH_INTERVAL": "1"}
        choices = ("--workers", str(options.workers), "--model-control", "watch", "--grpc-port", "0")
        server = Server(model.parent, *choices, **limits)
        server.start()
        over = threading.Event()
        clients = [Client(server.port, over) for _ in range(options.clients)]
        for client in clients:
            client.start()
        faults = Faults(server, model, random.Random(options.seed))  # noqa: S311 -- no secret
        try:
            resident = let_happen(server, faults, seconds=options.minutes * 60, pause=options.pause)
            whole = is_whole(server, options.workers)
        finally:
            over.set()
            for client in clients:
                client.join()
            status = server.stop()
    counts = sum((client.counts for client in clients), Counter())
    examples = [example for client in clients for example in client.examples if not example.startswith("lost")]
    third = max(1, len(resident) // 3)
    before, after = statistics.median(resident[:third]), statistics.median(resident[-third:])
    tell(f"faults: {', '.join(f'{count} x {name}' for name, count in sorted(faults.counts.items()))}")
    tell(f"requests: {', '.join(f'{count} {kind}' for kind, count in counts.most_common())}")
    tell(f"memory: {before:.0f} MB in the first third, {after:.0f} MB in the last; whole again: {whole}; exit status {status}")
    tell("\n".join([*faults.accepted, *examples][:10]))
    lost = counts["lost"] <= faults.counts["kill -9"] * options.clients
    answered = counts["right"] > 0 and not counts["wrong"] and not counts["refused"] and not counts["late"] and lost
    sys.exit(0 if answered and whole and not faults.accepted and after <= GROWTH * before and status == 0 else 1)


if __name__ == "__main__":
    main()
