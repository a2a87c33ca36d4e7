"""Train one spec twice at once into one repository, kill both with SIGKILL at random moments, start them again, and watch it all.

    python tests/faults/kill_together.py --kills 5 --spec training/specs/wine.toml --seed 0

Every version that can be seen must be whole and stay as it is. At the end both commands have ended well, there are one or two
versions (a run that was cut off after its fit and finds its very model published does not publish it again), all of the same graph,
and nothing else. Exits with 1 if that is not so.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from kill_publish import ROOT, Command, Watcher, tell

from service.repository.layout import GRAPH_NAME
from service.repository.manifest import Manifest
from training.spec.reading import read_spec


def repeatedly(place: Path, spec: Path, kills: int, generator: random.Random, patience: float) -> None:
    """Run the command until it has ended by itself, killed `kills` times before."""
    for number in range(1, kills + 1):
        command = Command(place, spec)
        time.sleep(generator.uniform(0.2, patience))
        ended = command.process.poll() is not None
        command.kill()
        if ended:
            tell(f"{place.name}: ended before kill {number}")
            return
        tell(f"{place.name}: kill {number} of {kills}, after: {(command.lines or ['nothing said'])[-1].strip()[:60]}")
    command = Command(place, spec)
    command.end()
    tell(f"{place.name}: {''.join(command.lines[-1:]).strip()}")
    if command.process.returncode:
        sys.exit(f"{place.name} ended with {command.process.returncode}.")


def main() -> None:
    """Run both, and judge what they left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--patience", type=float, default=12.0, help="Most seconds between the start of a run and its kill.")
    parser.add_argument("--spec", type=Path, default=ROOT / "training" / "specs" / "wine.toml")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    spec = options.spec.resolve()
    with tempfile.TemporaryDirectory(prefix="axon-kill-") as scratch:
        models = Path(scratch) / "models"
        models.mkdir()
        places = [Path(scratch) / name for name in ("one", "other")]
        for place in places:
            (place / "tmp").mkdir(parents=True)
            (place / "models").symlink_to(models)
        with Watcher(models / read_spec(spec).name) as watcher:
            runs = [
                threading.Thread(
                    target=repeatedly,
                    args=(place, spec, options.kills, random.Random(options.seed + index), options.patience),  # noqa: S311 -- moments
                )
                for index, place in enumerate(places)
            ]
            for run in runs:
                run.start()
            for run in runs:
                run.join()
            versions, staging = watcher.versions(), watcher.staging()
        graphs = {Manifest.read(version).files[GRAPH_NAME].sha256 for version in versions}
        tell(f"{watcher.looks} looks, half or changed versions: {watcher.problems or 'none'}")
        tell(f"Versions: {sorted(path.name for path in versions)}, of {len(graphs)} graph; staging left over: {staging or 'none'}")
    sys.exit(0 if not watcher.problems and len(versions) in {1, 2} and len(graphs) == 1 and not staging else 1)


if __name__ == "__main__":
    main()
