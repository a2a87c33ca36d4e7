"""Several processes that fit together, really started: one model, the same gates, and what happens when one of them is killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.repository.manifest import Manifest
from training.cluster import Cluster
from training.errors import FitRefused
from training.fitting.workers import Together

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "training" / "specs" / "digits.toml"
DEADLINE = 240.0


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def losses(output: str) -> list[str]:
    return re.findall(r"val_loss (\S+)", output)


class Team:
    """Two workers in one directory, as a job starts them."""

    def __init__(self, place: Path, environ: dict[str, str]) -> None:
        self._place = place
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        self.workers = [self._start(rank, addresses, environ) for rank in range(2)]

    def ended(self, rank: int) -> str:
        """Wait for a worker, and return what it said."""
        output, _ = self.workers[rank].communicate(timeout=DEADLINE)
        return output

    def wait_for_checkpoint(self) -> None:
        """Wait until the fit is under way."""
        end = time.monotonic() + DEADLINE
        while not list(self._place.glob(".axon/runs/*/checkpoint.npz")):
            assert time.monotonic() < end
            assert all(worker.poll() is None for worker in self.workers)
            time.sleep(0.02)

    def close(self) -> None:
        """End what still runs."""
        for worker in self.workers:
            worker.kill()
            worker.communicate()

    def _start(self, rank: int, addresses: list[str], environ: dict[str, str]) -> subprocess.Popen[str]:
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        return subprocess.Popen(
            [sys.executable, "-m", "service.cli", "train", str(SPEC), "--repository", "models"],
            cwd=self._place,
            env=environ | {"TF_CONFIG": json.dumps(config), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture
def teams(tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts two workers."""
    with ExitStack() as stack:

        def start() -> Team:
            team = Team(tmp_path, dict(os.environ))
            stack.callback(team.close)
            return team

        yield start


def test_workers_publish_one_model_that_passes_the_gates_also_after_one_was_killed(teams: Any, tmp_path: Path) -> None:
    """The one that is left says so, with a status that is worth another try; together they go on from the checkpoint."""
    first = teams()
    first.wait_for_checkpoint()
    first.workers[1].send_signal(signal.SIGKILL)
    left = first.ended(0)
    second = teams()
    outputs = [second.ended(rank) for rank in range(2)]
    manifest = Manifest.read(tmp_path / "models" / "digits" / "1")

    assert first.workers[0].returncode == 75, left
    assert "lost another one" in left
    assert [worker.returncode for worker in second.workers] == [0, 0], outputs
    assert all("Resuming after" in output for output in outputs)
    assert "worker 0 publishes" in outputs[1]
    assert losses(outputs[0])
    assert losses(outputs[0]) == losses(outputs[1]), "the weights of both are the same, so the loss of the same rows is"
    assert [path.name for path in (tmp_path / "models" / "digits").iterdir()] == ["1"]
    assert manifest.metrics["test"]["accuracy"] >= 0.97
    assert not list(tmp_path.glob(".axon/runs/*/checkpoint.npz"))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("rows", [1, 2, 3, 32, 33])
def test_shares_of_a_batch_are_of_one_size_and_leave_no_row_out(rows: int, count: int) -> None:
    shares = []
    for rank in range(count):
        worker = object.__new__(Together)  # which would wait for the others
        worker.cluster = Cluster(count, rank)
        begin, end = worker.share(10, 10 + rows)
        shares.append(range(int(begin), int(end)))

    assert {len(share) for share in shares} == {-(-rows // count)}
    assert {row for share in shares for row in share} == set(range(10, 10 + rows))


def test_without_a_configuration_a_process_is_alone() -> None:
    assert Cluster.read({}) == Cluster(count=1, rank=0)
    assert not Cluster.read({}).helps


def test_configuration_says_how_many_and_which() -> None:
    text = '{"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 2}}'

    assert Cluster.read({"TF_CONFIG": text}) == Cluster(count=3, rank=2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("{", "cannot be read", id="no JSON"),
        pytest.param('{"cluster": {}, "task": {"type": "worker", "index": 0}}', "`worker`", id="no workers"),
        pytest.param(
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
            "`ps`",
            id="parameter servers",
        ),
        pytest.param(
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "worker 2 of 2", id="one too many"
        ),
        pytest.param(
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}', "chief 0 of 2", id="another role"
        ),
    ],
)
def test_configuration_that_is_not_of_plain_workers_is_refused(text: str, problem: str) -> None:
    with pytest.raises(FitRefused, match=re.escape(problem)):
        Cluster.read({"TF_CONFIG": text})
