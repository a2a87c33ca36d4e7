"""What happens when far more is asked than can be done: the peak, then five times as much, then nothing more than usual.

    python tests/benchmarks/serving/overload.py --seconds 60

The load is open: requests are due at a fixed rate whatever becomes of them. Prints the goodput at the peak and under overload, the
99th percentile of what was accepted, how soon the others were refused and with what, and how a normal load fares right after.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import bodies
import graphs
import numpy as np
from load import OK, Target
from processes import Cpus, axon

Array = np.ndarray[Any, Any]
CONNECTIONS = 512
BUSY = 503


def goodput(records: Array) -> float:
    """Return answers a second."""
    answered = records[records["status"] == OK]
    return len(answered) / float(records["answered"].max() - records["due"].min())


def main() -> None:
    """Overload a server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(graphs.BUILDERS), default="cnn")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--encoding", choices=bodies.ENCODINGS, default="binary")
    parser.add_argument("--times", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--queue", type=int, help="max_queue_size; without it the default")
    options = parser.parse_args()
    cpus = Cpus.choose()
    with tempfile.TemporaryDirectory(prefix="axon-bench-") as directory:
        place = Path(directory)
        graphs.write(options.model, place / "models")
        if options.queue:
            (place / "models" / options.model / "model.toml").write_text(f"[batching]\nmax_queue_size = {options.queue}\n")
        with axon(place / "models", cpus.server, place) as server:
            body = bodies.make(options.model, options.encoding, options.rows)
            target = Target(server, f"/v2/models/{options.model}/infer", body, cpus.load, place)
            peak = max(target.closed(connections=16, seconds=3).rate for _ in range(3))
            over = target.records(connections=CONNECTIONS, rate=options.times * peak, seconds=options.seconds, seed=1)
            after = target.records(connections=CONNECTIONS, rate=0.5 * peak, seconds=2.0, seed=2)
    report(over, after, peak)


def report(over: Array, after: Array, peak: float) -> None:
    """Print the figures."""
    accepted, refused = over[over["status"] == OK], over[over["status"] == BUSY]
    others = len(over) - len(accepted) - len(refused)
    waits = accepted["answered"] - accepted["sent"]
    refusals = refused["answered"] - refused["sent"]
    sys.stdout.write(f"peak {peak:,.0f} requests/s; offered {len(over) / float(np.ptp(over['due'])):,.0f}\n")
    share = goodput(over) / peak
    sys.stdout.write(f"accepted {goodput(over):,.0f}/s, {share:.0%} of the peak; {_times(waits)}\n")
    if len(refused):
        after_seconds = refused["retry_after"]
        told = f"{np.isfinite(after_seconds).mean():.0%} with Retry-After, {np.nanmin(after_seconds):.0f} s or more"
        sys.stdout.write(f"refused {len(refused):,} with 503, {told}; {_times(refusals)}; other answers: {others}\n")
    late = after["answered"] - after["due"]
    sys.stdout.write(f"right after, at half the peak: {(after['status'] == OK).mean():.0%} answered, {_times(late)}\n")


def _times(seconds: Array) -> str:
    p50, p99, longest = np.percentile(seconds, [50, 99, 100]) * 1e3
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {longest:.1f} ms"


if __name__ == "__main__":
    main()
