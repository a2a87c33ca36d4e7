"""Kill `axon train` with SIGKILL all along its way, start it again each time, and watch the repository all the while.

    python tests/faults/kill_publish.py --kills 10 --spec training/specs/digits.toml --seed 0

Every version that can be seen must be whole and stay as it is; at the end there must be one, the same as that of a run in one go,
and nothing else: no staging, no checkpoint, no temporary files. Exits with 1 if that is not so, or if fewer than half of the
kills came before the end.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import onnx

from service.repository.layout import GRAPH_NAME
from service.repository.manifest import MANIFEST_NAME, Manifest
from service.repository.samples import Samples
from training.parity import open_graph, run_graph
from training.spec.reading import read_spec

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.002
PATIENCE = 300.0  # seconds that a run may take
# What a run says, or leaves on the disk, when a part of its way begins; the way is killed within the seconds that the part takes.
WAY = ("start", "fit", "export", "assemble", "publish", "published")
SAID = {"fit": "Fitting", "export": "Ran", "assemble": "ONNX"}


class Watcher:
    """Looks at a model's directory every few milliseconds; `problems` are the versions that were ever seen half or changed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.looks = 0
        self.problems: list[str] = []
        self._known: dict[Path, bytes] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def versions(self) -> list[Path]:
        """List the directories with an integer for a name, whatever is in them."""
        return [path for path in self.directory.glob("*") if path.name.isdecimal()]

    def staging(self) -> list[Path]:
        """List what is hidden beside them."""
        return list(self.directory.glob(".*"))

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            self.looks += 1
            for version in self.versions():
                try:
                    self._look_at(version)
                except Exception as error:  # noqa: BLE001 -- whatever is wrong with it is what we are here for
                    self.problems.append(f"{version.name}: {error!r}")

    def _look_at(self, version: Path) -> None:
        written = (version / MANIFEST_NAME).read_bytes()
        Manifest.read(version).verify(version)
        if version not in self._known:
            self._known[version] = written
            replay(version)
        if self._known[version] != written:
            raise ValueError("the manifest has changed")


class Command:
    """`axon train` in a process group of its own, with the moments at which it said what."""

    def __init__(self, place: Path, spec: Path) -> None:
        self.place = place
        self.said: dict[str, float] = {}
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TMPDIR": str(place / "tmp")}
        arguments = ["train", str(spec), "--repository", "models"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", *arguments],
            cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line)
            self.said.setdefault(line.partition(" ")[0], time.monotonic())

    def wait_for(self, happened: Callable[[], bool]) -> bool:
        """Wait until it has happened, or the command has ended; say which."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > deadline:
                self.kill()
                sys.exit(f"Nothing happened for {PATIENCE:g} seconds.\n{''.join(self.lines)}")
            time.sleep(POLL_SECONDS / 4)
        return True

    def kill(self) -> None:
        """Kill the whole group, if it has not ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.end()
        if self.process.returncode not in {0, -signal.SIGKILL}:
            sys.exit(f"The command ended with {self.process.returncode}.\n{''.join(self.lines)}")

    def end(self) -> None:
        """Wait for its end."""
        self.process.wait(PATIENCE)
        self._reader.join()


def replay(version: Path) -> None:
    """Load the graph and run it on the package's samples."""
    samples, manifest = Samples.read(version), Manifest.read(version)
    if samples is None or manifest.parity is None:
        raise ValueError("there are no samples, or there is no certificate")
    names = list(samples.outputs)
    for name, result in zip(names, run_graph(open_graph(version / GRAPH_NAME), names, samples.inputs), strict=True):
        np.testing.assert_allclose(result, samples.outputs[name], rtol=0, atol=manifest.parity.tolerance)


def run_whole(place: Path, spec: Path) -> dict[str, float]:
    """Run the command to its end; return the seconds that each part of its way took."""
    began = time.monotonic()
    command = Command(place, spec)
    command.end()
    if command.process.returncode:
        sys.exit(f"The command ended with {command.process.returncode}.\n{''.join(command.lines)}")
    moments = [began, *(command.said[word] for word in SAID.values()), command.said["Published"]]
    taken = dict(zip(WAY, (after - before for before, after in pairwise(moments)), strict=False))
    # What is imported for the first time comes from the disk, for the second from memory.
    return taken | {"start": taken["start"] / 4, "publish": 0.05, "published": 0.002}


def kill_once(place: Path, spec: Path, part: str, watcher: Watcher, seconds: float) -> bool:
    """Kill a run `seconds` after a part of its way has begun; say whether it had not ended by then.

    It ends when it has published and dropped its checkpoint: the same command then is a wish for the next version.
    """
    before = set(watcher.staging())
    signs: dict[str, Callable[[Command], bool]] = {
        "start": lambda _command: True,
        "publish": lambda _command: bool(set(watcher.staging()) - before),
        "published": lambda _command: bool(watcher.versions()),
        **{name: lambda command, word=word: word in command.said for name, word in SAID.items()},  # type: ignore[misc]
    }
    command = Command(place, spec)
    if command.wait_for(lambda: signs[part](command)):
        time.sleep(seconds)
    command.kill()
    return not watcher.versions() or bool(checkpoints(place))


def differences(one: Path, other: Path) -> list[str]:
    """Name what differs between two versions and should not."""
    first, second = Manifest.read(one), Manifest.read(other)
    facts = ("name", "version", "signature", "metrics", "intervals", "acceptance", "parity", "dataset", "spec", "tools")
    found = [fact for fact in facts if getattr(first, fact) != getattr(second, fact)]
    found += [name for name in (GRAPH_NAME, "baseline.json") if first.files[name] != second.files[name]]
    constants, others = (
        {tensor.name: tensor for tensor in onnx.load(path / GRAPH_NAME).graph.initializer} for path in (one, other)
    )
    found += [name for name in constants.keys() | others.keys() if constants.get(name) != others.get(name)]
    return found


def leftovers(place: Path, watcher: Watcher) -> list[Path]:
    """List what should have been cleared away."""
    temporary = [path for path in (place / "tmp").iterdir() if path.name != ".ses"]  # onnxruntime's own, made when it is imported
    return [*temporary, *watcher.staging(), *checkpoints(place)]


def checkpoints(place: Path) -> list[Path]:
    """List the checkpoints, half ones too."""
    return list((place / ".axon").rglob("*.npz*"))


def tell(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def plan(kills: int) -> list[str]:
    """Spread the kills over the way, in its order: a part that a checkpoint keeps is not run again."""
    return sorted(("start", *(WAY[1:] * kills)[: kills - 1]), key=WAY.index) if kills else []


def main() -> None:
    """Compare the command in one go with the killed one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--spec", type=Path, default=ROOT / "training" / "specs" / "digits.toml")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    spec, generator = options.spec.resolve(), random.Random(options.seed)  # noqa: S311 -- moments, not secrets
    with tempfile.TemporaryDirectory(prefix="axon-kill-") as scratch:
        unbroken, killed = Path(scratch) / "unbroken", Path(scratch) / "killed"
        for place in (unbroken, killed):
            (place / "tmp").mkdir(parents=True)
        taken = run_whole(unbroken, spec)
        tell("In one go: " + ", ".join(f"{part} {seconds:.2f} s" for part, seconds in taken.items()))
        parts, kills = plan(options.kills), 0
        name = read_spec(spec).name
        with Watcher(killed / "models" / name) as watcher:
            for number, part in enumerate(parts, start=1):
                seconds = generator.uniform(0, taken[part] / (parts.count(part) if part == "fit" else 1))
                if not kill_once(killed, spec, part, watcher, seconds):
                    tell(f"Kill {number} of {len(parts)} came after the end.")
                    break
                kills = number
                left, there = leftovers(killed, watcher), len(watcher.versions())
                tell(f"Kill {number} of {len(parts)}: {part} + {seconds:.3f} s; {there} versions, {len(left)} files left over")
            else:
                run_whole_again(killed, spec)
            versions, left = watcher.versions(), leftovers(killed, watcher)
        different = differences(unbroken / "models" / name / "1", killed / "models" / name / "1")
        tell(f"{watcher.looks} looks, half or changed versions: {watcher.problems or 'none'}")
        tell(f"Versions: {[path.name for path in versions]}; differences from the run in one go: {different or 'none, to the bit'}")
        tell(f"Left over: {[str(path.relative_to(killed)) for path in left] or 'nothing'}")
    sys.exit(1 if watcher.problems or len(versions) != 1 or different or left or 2 * kills < options.kills else 0)


def run_whole_again(place: Path, spec: Path) -> None:
    """Run the killed command to its end."""
    command = Command(place, spec)
    command.end()
    if command.process.returncode:
        sys.exit(f"The command ended with {command.process.returncode}.\n{''.join(command.lines)}")
    tell("".join(command.lines).rstrip())


if __name__ == "__main__":
    main()
