"""How much of onnxruntime's speed is left behind Axon's HTTP, and how a plain FastAPI endpoint compares.

    python tests/benchmarks/serving/bench.py serving.md
    python tests/benchmarks/serving/bench.py serving.md --models cnn --rows 32 --connections 16 --rounds 5

For every case (model, encoding, rows of a request, connections) onnxruntime alone, Axon and the plain endpoint take turns on one
CPU, while the load comes from another. The ceiling is the best that a loop around onnxruntime reaches at any batch size that such
requests can make, on one thread. One answer a case is compared with onnxruntime's; a wrong answer or an error ends the benchmark.
Writes FILE.md, and a plot beside it, FILE.png. Needs wrk, taskset, two CPUs and the dev extra; Linux.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import bodies
import graphs
import onnxruntime as ort
import report
from comparison import Case, Result, measure_round
from load import Target
from processes import Ceiling, Cpus, axon, ceiling, plain

MOST_SECONDS_A_TURN: Final = 10.0  # cases in which one answer for every connection takes longer are left out
FEWEST_PACED: Final = 200  # requests from which a 99th percentile says something
IDLE_RATE: Final = 50.0


def main() -> None:
    """Measure what was asked for."""
    options = arguments()
    cpus = Cpus.choose()
    results: list[Result] = []
    idle: list[tuple[Case, float, float]] = []
    with tempfile.TemporaryDirectory(prefix="axon-bench-") as directory, ExitStack() as stack:
        place = Path(directory)
        paths = {name: graphs.write(name, place / "models") for name in options.models}
        servers = {"axon": stack.enter_context(axon(place / "models", cpus.server, place))}
        servers["plain"] = stack.enter_context(plain(place / "models", cpus.server, place))
        for name, path in paths.items():
            alone = stack.enter_context(ceiling(path, cpus.server))
            session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
            for case in cases(name, options):
                body = bodies.make(name, case.encoding, case.rows)
                expected = session.run(None, {"x": body.inputs})[0]
                targets = {side: Target(server, case.path, body, cpus.load, place) for side, server in servers.items()}
                if case.encoding == "binary":
                    del targets["plain"]
                for target in targets.values():
                    target.check(expected)
                if (result := compare(case, alone, targets, options)) is not None:
                    results.append(result)
                    idle += measure_idle(case, alone, targets["axon"], options) if case.connections == case.rows == 1 else []
    text = report.markdown(results, idle, rounds=options.rounds, seconds=options.seconds)
    options.file.write_text(text, encoding="utf-8")
    report.plot(results, options.file.with_suffix(".png"))
    sys.stdout.write(f"\n{text}\nWritten to {options.file} and {options.file.with_suffix('.png')}.\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="where the table goes, for example serving.md")
    parser.add_argument("--models", nargs="+", choices=list(graphs.BUILDERS), default=list(graphs.BUILDERS))
    parser.add_argument("--encodings", nargs="+", choices=bodies.ENCODINGS, default=["json", "binary"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each side in each round")
    parser.add_argument("--paced", nargs="*", type=float, default=[0.5, 0.8], help="fixed rates, as shares of the closed loop's")
    return parser.parse_args()


def cases(model: str, options: argparse.Namespace) -> Iterator[Case]:
    """List the cases of a model."""
    for encoding in options.encodings:
        for rows in options.rows:
            for connections in options.connections:
                yield Case(model, encoding, rows, connections)


def compare(case: Case, alone: Ceiling, targets: dict[str, Target], options: argparse.Namespace) -> Result | None:
    """Measure one case in rounds, then at fixed rates; None, with a line that says so, if it would take too long."""
    run_seconds = alone.measure(case.rows, 0.1)["median"]
    if run_seconds * case.connections > MOST_SECONDS_A_TURN:
        sys.stdout.write(f"{case}: left out, one turn takes {run_seconds * case.connections:.0f} s\n")
        return None
    result = Result(case)
    for number in range(options.rounds):
        backwards = number % 2 == 1
        measure_round(result, alone, targets, seconds=options.seconds, run_seconds=run_seconds, backwards=backwards)
    for share in options.paced:
        rate = share * result.median_rate()
        if rate * options.seconds >= FEWEST_PACED:
            result.paced[share] = [
                targets["axon"].paced(connections=case.connections, rate=rate, seconds=options.seconds, seed=number)
                for number in range(options.rounds)
            ]
    factors = f", {statistics.median(result.factors):.1f} times plain" if result.factors else ""
    sys.stdout.write(
        f"{case}: {case.rows * result.median_rate():,.0f} rows/s, {statistics.median(result.shares):.2f} of the best, "
        f"{statistics.median(result.cpu_shares):.2f} per CPU second{factors}\n"
    )
    sys.stdout.flush()
    return result


def measure_idle(case: Case, alone: Ceiling, target: Target, options: argparse.Namespace) -> list[tuple[Case, float, float]]:
    """Compare a request to a server that is rarely asked with a run of onnxruntime that is as rare."""
    bare, ours = [], []
    for number in range(options.rounds):
        bare.append(alone.measure(case.rows, options.seconds, pause=1 / IDLE_RATE)["median"])
        ours.append(target.paced(connections=1, rate=IDLE_RATE, seconds=options.seconds, seed=number).p50)
    return [(case, statistics.median(bare), statistics.median(ours))]


if __name__ == "__main__":
    main()
