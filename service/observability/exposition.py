"""What a scrape of one of several workers shows: the values of all of them, put together."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from service.observability.shared_values import GONE, Key, Segment

_decoded = lru_cache(maxsize=100_000)(Key.decode)


class MergedCollector(Collector):
    """The metrics of a registry with the values of all segments: counts are added, gauges by their `multiprocess_mode`.

    A gauge is added up if its mode is `sum` or `livesum`, else it is the largest. A metric that keeps no values of its own, such as
    those of the platform, is given as it is. What a process has of a version that another has let go already is left out: a part of
    a count would look as if it had begun again. Exemplars are those of the registry's own process.
    """

    def __init__(self, local: CollectorRegistry, segments: Sequence[Segment]) -> None:
        self._local = local
        self._segments = segments

    def collect(self) -> Iterator[Metric]:
        """Give every metric of the registry with the samples of all processes."""
        samples: dict[str, list[tuple[Key, float]]] = defaultdict(list)
        merged = {_decoded(key): value for key, value in _merged(self._segments).items()}
        gone = {key.version for key in merged if key.kind == GONE}
        for key, value in merged.items():
            shown = samples[key.metric]
            if key.version is None or key.version not in gone:
                shown.append((key, value))
        for metric in self._local.collect():
            if metric.name in samples:
                own = samples[metric.name]
                put_together = list(_cumulated(own) if metric.type == "histogram" else _plain(own))
                metric.samples = _with_exemplars(put_together, metric.samples)
            yield metric


def _merged(segments: Iterable[Segment]) -> dict[bytes, float]:
    merged: dict[bytes, float] = {}
    for segment in segments:
        for key, value in segment.items():
            if key not in merged:
                merged[key] = value
            elif (decoded := _decoded(key)).kind != "gauge" or decoded.mode in {"sum", "livesum"}:
                merged[key] += value
            else:
                merged[key] = max(merged[key], value)
    return merged


def _with_exemplars(merged: list[Sample], local: Iterable[Sample]) -> list[Sample]:
    examples: dict[tuple[str, frozenset[tuple[str, str]]], Exemplar] = {
        (sample.name, frozenset(sample.labels.items())): sample.exemplar for sample in local if sample.exemplar
    }
    if not examples:
        return merged
    return [sample._replace(exemplar=examples.get((sample.name, frozenset(sample.labels.items())))) for sample in merged]


def _plain(values: Iterable[tuple[Key, float]]) -> Iterator[Sample]:
    for key, value in values:
        yield Sample(key.sample, dict(zip(key.label_names, key.label_values, strict=True)), value)


def _cumulated(values: Iterable[tuple[Key, float]]) -> Iterator[Sample]:
    """Give the buckets of histograms, each with those below it, as the format wants them, then count and sum."""
    buckets: dict[tuple[str, ...], list[tuple[Key, float]]] = defaultdict(list)
    sums: dict[tuple[str, ...], tuple[Key, float]] = {}
    for key, value in values:
        if key.sample.endswith("_bucket"):
            buckets[key.label_values[:-1]].append((key, value))
        else:
            sums[key.label_values] = (key, value)
    for labels, (total_key, total) in sums.items():
        count = 0.0
        for key, value in sorted(buckets[labels], key=lambda entry: float(entry[0].label_values[-1])):
            count += value
            yield Sample(key.sample, dict(zip(key.label_names, key.label_values, strict=True)), count)
        names = dict(zip(total_key.label_names, labels, strict=True))
        yield Sample(total_key.metric + "_count", names, count)
        yield Sample(total_key.sample, names, total)
