"""One measurement of a server under load: wrk, or the requester where wrk will not do."""

import http.client
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from bodies import Body
from processes import HERE, HOST, Server, pinned

Array = np.ndarray[Any, Any]
OK: Final = 200


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load came to; times in seconds. `cpu_seconds` is what the server used of its CPU."""

    requests: int
    seconds: float
    cpu_seconds: float
    p50: float
    p99: float
    p999: float | None = None

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of request to one server, its load from one CPU. `workdir` takes the files that the generators read."""

    server: Server
    path: str
    body: Body
    cpu: int
    workdir: Path

    def check(self, expected: Array) -> None:
        """Send one request and compare its answer with the outputs of onnxruntime."""
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=60)
        connection.request("POST", self.path, self.body.content, dict(self.body.headers))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status != OK:
            raise ValueError(f"{self.path} answered {response.status}: {content[:300]!r}")
        self.body.check({name.lower(): value for name, value in response.getheaders()}, content, expected)

    def closed(self, *, connections: int, seconds: float) -> Loaded:
        """Let every connection send its next request when it has its answer, by wrk. An error ends the benchmark."""
        file = self.workdir / "body"
        file.write_bytes(self.body.content)
        headers = [part for header in self.body.headers.items() for part in header]
        wrk = shutil.which("wrk") or sys.exit("The benchmark needs wrk (Debian package wrk).")
        options = ["-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--timeout", "30s", "--latency"]
        command = [wrk, *options, "-s", str(HERE / "post.lua"), self.server.url(self.path), "--", str(file), *headers]
        before = self.server.cpu_seconds()
        done = subprocess.run(pinned(command, self.cpu), capture_output=True, text=True, check=True)
        used = self.server.cpu_seconds() - before
        found = json.loads(done.stdout.strip().splitlines()[-1])
        if found["errors"] or not found["requests"]:
            raise ValueError(f"{self.path}: {found['errors']} errors among {found['requests']} requests\n{done.stdout}")
        return Loaded(found["requests"], found["seconds"], used, found["p50"], found["p99"])

    def counted(self, *, connections: int, count: int) -> Loaded:
        """Send a fixed number of requests over closed loops: exact where a run takes long and few of them fit into a time."""
        before = self.server.cpu_seconds()
        records = self.records(connections=connections, count=count)
        used = self.server.cpu_seconds() - before
        return _summary(records, used, since="sent")

    def paced(self, *, connections: int, rate: float, seconds: float, seed: int) -> Loaded:
        """Send at a fixed rate; latency counts from the moment a request was due."""
        before = self.server.cpu_seconds()
        records = self.records(connections=connections, rate=rate, seconds=seconds, seed=seed)
        used = self.server.cpu_seconds() - before
        return _summary(records, used, since="due")

    def records(self, **load: float) -> Array:
        """Run the requester and return its records; see requester.py."""
        request, into = self.workdir / "request", self.workdir / "records.npy"
        request.write_bytes(self._message())
        options = {"host": HOST, "port": self.server.port, "request": str(request), "into": str(into), **load}
        command = pinned([sys.executable, str(HERE / "requester.py"), json.dumps(options)], self.cpu)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"the load generator failed: {done.stderr.strip().splitlines()[-1]}")
        records: Array = np.load(into)
        return records

    def _message(self) -> bytes:
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {HOST}:{self.server.port}", f"Content-Length: {len(self.body.content)}"]
        lines += [f"{name}: {value}" for name, value in self.body.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body.content


def _summary(records: Array, cpu_seconds: float, *, since: str) -> Loaded:
    failed = records[records["status"] != OK]
    if len(failed):
        raise ValueError(f"{len(failed)} of {len(records)} requests failed, the first with status {failed['status'][0]}")
    times = records["answered"] - records[since]
    p50, p99, p999 = np.percentile(times, [50, 99, 99.9]).tolist()
    seconds = float(records["answered"].max() - records[since].min())
    return Loaded(len(records), seconds, cpu_seconds, p50, p99, p999)
