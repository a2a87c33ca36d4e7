"""Kill a fit with SIGKILL at random moments, resume it each time, and compare its weights with those of a fit in one go.

    python tests/faults/kill_fit.py --kills 10 --epochs 150 --seed 0

Exits with 1 if a bit differs, or if fewer than half of the kills came before the end: then choose more epochs.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIT = Path(__file__).with_name("resumable_fit.py")
ROOT = FIT.parents[2]
CHECKPOINT = "checkpoint.npz"
START_SECONDS = 120.0


def start(workdir: Path, epochs: int) -> subprocess.Popen[str]:
    """Start the fit, or go on with it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(FIT), str(workdir), str(epochs)], stdout=subprocess.PIPE, text=True, env=environment
    )


def finish(workdir: Path, epochs: int) -> tuple[str, str, float]:
    """Run the fit to its end; return the digest, the epochs it started from, and the seconds since its first checkpoint."""
    process = start(workdir, epochs)
    began = wait_for_checkpoint(process, workdir, stamp(workdir))
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"The fit ended with {process.returncode}.")
    digest, resumed_from = output.split()
    return digest, resumed_from, time.monotonic() - began


def kill(workdir: Path, epochs: int, generator: random.Random, seconds: float) -> bool:
    """Kill the fit within `seconds` after it has begun to write checkpoints; say whether it had not ended by then."""
    process = start(workdir, epochs)
    wait_for_checkpoint(process, workdir, stamp(workdir))
    time.sleep(generator.uniform(0, seconds))
    process.kill()
    process.communicate()
    if process.returncode not in {0, -9}:
        sys.exit(f"The fit ended with {process.returncode}.")
    return process.returncode == -9


def wait_for_checkpoint(process: subprocess.Popen[str], workdir: Path, before: int) -> float:
    """Wait until the process has written a checkpoint, or ended; return the time."""
    deadline = time.monotonic() + START_SECONDS
    while stamp(workdir) == before and process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            sys.exit(f"No checkpoint after {START_SECONDS:g} seconds.")
        time.sleep(0.005)
    return time.monotonic()


def stamp(workdir: Path) -> int:
    """Return when the checkpoint was written, in ns; 0 where there is none."""
    path = workdir / CHECKPOINT
    return path.stat().st_mtime_ns if path.exists() else 0


def tell(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Compare the fit in one go with the killed one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = random.Random(options.seed)  # noqa: S311 -- moments, not secrets
    with tempfile.TemporaryDirectory(prefix="axon-kill-") as scratch:
        unbroken, _, seconds = finish(Path(scratch) / "unbroken", options.epochs)
        killed = Path(scratch) / "killed"
        kills = 0
        while kills < options.kills and kill(killed, options.epochs, generator, 0.6 * seconds / options.kills):
            kills += 1
            tell(f"kill {kills} of {options.kills}")
        resumed, epochs, _ = finish(killed, options.epochs)
    same = resumed == unbroken
    tell(f"{kills} kills, the last resumed after {epochs} epochs: {'the same bits' if same else 'DIFFERENT BITS'}")
    tell(f"in one go {unbroken}\nresumed   {resumed}")
    sys.exit(0 if same and epochs != "None" and 2 * kills >= options.kills else 1)


main()
