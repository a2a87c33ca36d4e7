"""One case of the benchmark, measured in turns: onnxruntime alone, Axon, and the plain endpoint."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from load import Loaded, Target
from processes import Ceiling

LARGEST_BATCH: Final = 64
SLOW_SECONDS: Final = 0.02  # a run from which requests are counted rather than timed


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of request and how many connections send it."""

    model: str
    encoding: str
    rows: int
    connections: int

    @property
    def path(self) -> str:
        """Where the requests go."""
        return f"/v2/models/{self.model}/infer"

    def __str__(self) -> str:
        return f"{self.model}, {self.encoding}, {self.rows} rows, {self.connections} connections"


@dataclass(frozen=True, slots=True)
class Alone:
    """Rows a second of onnxruntime alone: at the best batch size, there per CPU second, and with one request a run."""

    best: float
    best_rows: int
    best_per_cpu: float
    loop: float


@dataclass(slots=True)
class Result:
    """What the rounds of a case gave, one item a round and side."""

    case: Case
    alone: list[Alone] = field(default_factory=list)
    axon: list[Loaded] = field(default_factory=list)
    plain: list[Loaded] = field(default_factory=list)
    paced: dict[float, list[Loaded]] = field(default_factory=dict)

    @property
    def shares(self) -> list[float]:
        """Axon's rows a second as a share of the ceiling, round by round."""
        return [self.case.rows * ours.rate / alone.best for ours, alone in zip(self.axon, self.alone, strict=True)]

    @property
    def cpu_shares(self) -> list[float]:
        """The same in rows per CPU second, in which other processes on the machine count less."""
        rows = self.case.rows
        pairs = zip(self.axon, self.alone, strict=True)
        return [rows * ours.requests / ours.cpu_seconds / alone.best_per_cpu for ours, alone in pairs]

    @property
    def factors(self) -> list[float]:
        """How many times as many requests a second as the plain endpoint answers, round by round."""
        return [ours.rate / plain.rate for ours, plain in zip(self.axon, self.plain, strict=False)]

    def median_rate(self) -> float:
        """Return Axon's median of requests a second."""
        return statistics.median(loaded.rate for loaded in self.axon)


def measure_alone(ceiling: Ceiling, rows: int, seconds: float, largest: int) -> Alone:
    """Measure onnxruntime alone at every batch size, in powers of two, that requests of `rows` rows can make."""
    sizes = [rows]
    while sizes[-1] * 2 <= largest:
        sizes.append(sizes[-1] * 2)
    found = {size: ceiling.measure(size, seconds / len(sizes)) for size in sizes}
    rates = {size: size * run["runs"] / run["seconds"] for size, run in found.items()}
    best = max(rates, key=rates.__getitem__)
    per_cpu = max(size * run["runs"] / run["cpu_seconds"] for size, run in found.items())
    return Alone(rates[best], best, per_cpu, rates[rows])


def measure_closed(target: Target, case: Case, *, seconds: float, run_seconds: float) -> Loaded:
    """Measure closed loops for about a time, at least two turns of every connection where a run is slow."""
    if run_seconds < SLOW_SECONDS:
        return target.closed(connections=case.connections, seconds=seconds)
    count = max(2 * case.connections, round(seconds / run_seconds))
    return target.counted(connections=case.connections, count=count)


def measure_round(
    result: Result, ceiling: Ceiling, targets: Mapping[str, Target], *, seconds: float, run_seconds: float, backwards: bool
) -> None:
    """Measure every side once; `backwards` in every other round, so that no side always follows the same one."""
    sides = ["alone", *targets]
    for side in reversed(sides) if backwards else sides:
        if side == "alone":
            largest = max(LARGEST_BATCH if run_seconds < SLOW_SECONDS else result.case.connections, result.case.rows)
            result.alone.append(measure_alone(ceiling, result.case.rows, seconds, largest))
            continue
        loaded = measure_closed(targets[side], result.case, seconds=seconds, run_seconds=run_seconds)
        (result.axon if side == "axon" else result.plain).append(loaded)
