"""Values of metrics in memory that several processes share: each writes its own, and each can read those of all.

prometheus_client's own way, files that are mapped into memory, takes four times as long for a count, cannot take a series back, and
leaves files behind when everything is killed. Memory that is mapped before the processes are forked has none of this, and survives
a worker that is killed: the next one of its slot goes on with its counts.
"""

import json
import mmap
from collections import defaultdict
from collections.abc import Callable, Iterator
from math import isnan, nan
from typing import Final, NamedTuple

from prometheus_client import values
from prometheus_client.samples import Exemplar

# Address space of one process' values, of which only what is used takes memory: about 400,000 values.
SEGMENT_SIZE: Final = 1 << 26
_USED, _PID, _FIRST = 0, 1, 2  # in words of 8 bytes: end of the entries, process that writes, first entry
_CHANGE: Final = 1 << 32  # in a stamp: above the length
_GAUGE: Final = "gauge"
GONE: Final = "gone"  # no metric: the mark of a version whose series a process has let go


class Key(NamedTuple):
    """What a value is of."""

    kind: str
    metric: str
    sample: str
    label_names: tuple[str, ...]
    label_values: tuple[str, ...]
    mode: str

    @property
    def version(self) -> tuple[str, str] | None:
        """The model version that it is of, the version empty for the model as a whole; None if it is of none."""
        if self.label_names[:1] != ("model",):
            return None
        return (self.label_values[0], self.label_values[1] if self.label_names[1:2] == ("version",) else "")

    def encode(self) -> bytes:
        """Return the key as it stands in memory, filled up to whole words."""
        content = json.dumps(self, separators=(",", ":")).encode()
        return content + b" " * (-len(content) % 8)

    @classmethod
    def decode(cls, content: bytes) -> "Key":
        """Read a key back."""
        kind, metric, sample, names, label_values, mode = json.loads(content)
        return cls(kind, metric, sample, tuple(names), tuple(label_values), mode)


class _Place(NamedTuple):
    """Where a value is in `numbers`, and who must not write there any more when it is given to another key."""

    number: int
    key: Key
    let_go: Callable[[], None] | None


class Segment:
    """The values of one process. One process writes, any may read; made before the processes are forked.

    An entry is the value, a stamp, and the key. The end of the entries moves when a new one is complete. The value of an entry
    that is not used is NaN; it is given to another key of the same length. The stamp has the length of the key in words, and how
    often the key has changed, an odd number while it does: who reads it before and after knows whether key and value go together.
    """

    def __init__(self, *, size: int = SEGMENT_SIZE) -> None:
        self._memory = mmap.mmap(-1, size)
        self._bytes = memoryview(self._memory)
        self.numbers: Final = self._bytes.cast("d")
        self._words = self._bytes.cast("q")
        self._words[_USED] = _FIRST
        self._places: dict[bytes, _Place] | None = None
        self._by_version: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        self._free: dict[int, list[int]] = defaultdict(list)

    @property
    def pid(self) -> int:
        """Process that writes, 0 while there is none."""
        return self._words[_PID]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._words[_PID] = pid

    def place(self, key: Key, let_go: Callable[[], None] | None = None) -> int | None:
        """Return the index in `numbers` of the value of a key, making an entry if there is none; None if the memory is full.

        `let_go` is called when the place is taken away.
        """
        places = self._own_places()
        encoded = key.encode()
        known = places.get(encoded)
        index = self._entry(encoded) if known is None else known.number
        if index is not None:
            self._remember(encoded, _Place(index, key, let_go))
        return index

    def versions(self) -> list[tuple[str, str]]:
        """Return the model versions that there are values of; an empty version means the model as a whole."""
        self._own_places()
        return list(self._by_version)

    def release(self, version: tuple[str, str], *, gauges_only: bool = False) -> None:
        """Take the values of a model version back; of its gauges, that of its state is kept if only those are to go."""
        places = self._own_places()
        for encoded in list(self._by_version.get(version, ())):
            if not gauges_only or (places[encoded].key.kind == _GAUGE and "state" not in places[encoded].key.label_names):
                self._release(encoded)

    def mark_gone(self, version: tuple[str, str]) -> None:
        """Say that this process has let a version go, so that nobody shows what the others still have of it."""
        if (index := self.place(_mark(version))) is not None:
            self.numbers[index] = 1.0

    def unmark_gone(self, version: tuple[str, str]) -> None:
        """Take that back."""
        if (encoded := _mark(version).encode()) in self._own_places():
            self._release(encoded)

    def items(self) -> Iterator[tuple[bytes, float]]:
        """Give every key with its value; a series that was taken back is left out."""
        for key, _, value in self._entries():
            if not isnan(value):
                yield key, value

    def forget_gauges(self) -> None:
        """Take the gauges of a process that has ended back; its counts stay."""
        self.pid = 0
        for key, index, value in self._entries():
            if not isnan(value) and Key.decode(key).kind in (_GAUGE, GONE):
                self.numbers[index] = nan

    def _own_places(self) -> dict[bytes, _Place]:
        """Return what this process writes; at first that is what the process had that had this segment before."""
        if self._places is None:
            self._places = {}
            for encoded, index, value in self._entries():
                if isnan(value):
                    self._free[len(encoded) // 8].append(index)
                else:
                    self._remember(encoded, _Place(index, Key.decode(encoded), None))
        return self._places

    def _remember(self, encoded: bytes, place: _Place) -> None:
        self._own_places()[encoded] = place
        if (version := place.key.version) is not None:
            self._by_version[version].add(encoded)

    def _release(self, encoded: bytes) -> None:
        place = self._own_places().pop(encoded)
        if place.let_go is not None:
            place.let_go()
        self.numbers[place.number] = nan
        self._free[len(encoded) // 8].append(place.number)
        if (version := place.key.version) is not None:
            self._by_version[version].discard(encoded)
            if not self._by_version[version]:
                del self._by_version[version]

    def _entry(self, encoded: bytes) -> int | None:
        """Return the place of a new entry whose value is 0."""
        length = len(encoded) // 8
        if free := self._free[length]:
            index = free.pop()
            self._words[index + 1] += _CHANGE
            self._bytes[(index + 2) * 8 : (index + 2 + length) * 8] = encoded
            self.numbers[index] = 0.0
            self._words[index + 1] += _CHANGE
            return index
        index = self._words[_USED]
        end = index + 2 + length
        if end > len(self._words):
            return None
        self.numbers[index] = 0.0
        self._words[index + 1] = length
        self._bytes[(index + 2) * 8 : end * 8] = encoded
        self._words[_USED] = end
        return index

    def _entries(self) -> Iterator[tuple[bytes, int, float]]:
        index, end = _FIRST, self._words[_USED]
        while index < end:
            stamp = self._words[index + 1]
            length = stamp % _CHANGE
            key, value = bytes(self._bytes[(index + 2) * 8 : (index + 2 + length) * 8]), self.numbers[index]
            if stamp == self._words[index + 1] and not stamp // _CHANGE % 2:
                yield key, index, value
            index += 2 + length


def _mark(version: tuple[str, str]) -> Key:
    return Key(GONE, "", "", ("model", "version"), version, "")


def keep_values_in(segment: Segment) -> None:
    """Let every metric that this process makes from now on keep its values in a segment.

    prometheus_client takes the kind of value from this one place, so it holds for the whole process.
    """

    class SharedValue:
        """One value, as prometheus_client wants it."""

        _multiprocess = False  # to prometheus_client this process is alone: exposition.py puts the processes together

        def __init__(
            self,
            kind: str,
            metric: str,
            sample: str,
            label_names: tuple[str, ...],
            label_values: tuple[str, ...],
            _help: str,
            multiprocess_mode: str = "",
        ) -> None:
            key = Key(kind, metric, sample, tuple(label_names), tuple(label_values), multiprocess_mode)
            self._exemplar: Exemplar | None = None
            self._detach()
            index = segment.place(key, self._detach)
            if index is not None:
                self._numbers, self._index = segment.numbers, index
            if kind == _GAUGE:
                self._numbers[self._index] = 0.0

        def _detach(self) -> None:
            """Write where nobody reads: what is told of a version that is gone must not count for another."""
            self._numbers, self._index = memoryview(bytearray(8)).cast("d"), 0

        def inc(self, amount: float) -> None:
            self._numbers[self._index] += amount  # without a lock: what happens is reported on the event loop

        def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002 -- for a mode that is not used
            self._numbers[self._index] = value

        def get(self) -> float:
            return self._numbers[self._index]

        def set_exemplar(self, exemplar: Exemplar) -> None:
            """Exemplars stay with this process: they are not numbers."""
            self._exemplar = exemplar

        def get_exemplar(self) -> Exemplar | None:
            return self._exemplar

    values.ValueClass = SharedValue


class OwnValue:
    """One value of a process that is alone, as prometheus_client wants it. It has no lock: all is reported on the event loop."""

    _multiprocess = False

    def __init__(self, *_facts: object, **_more: object) -> None:
        self._value = 0.0
        self._exemplar: Exemplar | None = None

    def inc(self, amount: float) -> None:
        """Add to it."""
        self._value += amount

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002 -- for a mode that is not used
        """Change it."""
        self._value = value

    def get(self) -> float:
        """Return it."""
        return self._value

    def set_exemplar(self, exemplar: Exemplar) -> None:
        """Keep an example of it."""
        self._exemplar = exemplar

    def get_exemplar(self) -> Exemplar | None:
        """Return the example."""
        return self._exemplar


def keep_values_here() -> None:
    """Let every metric that this process makes from now on keep its values in the process."""
    values.ValueClass = OwnValue
