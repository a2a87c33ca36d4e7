"""Values of metrics in memory that several processes share: each writes its own, and each can read those of all.

prometheus_client's own way, files that are mapped into memory, takes four times as long for a count, cannot take a series back, and
leaves files behind when everything is killed. Memory that is mapped before the processes are forked has none of this, and survives
a worker that is killed: the next one of its slot goes on with its counts.
"""

import json
import mmap
from collections.abc import Iterator
from math import isnan, nan
from typing import Final, NamedTuple

from prometheus_client import values

# Address space of one process' values, of which only what is used takes memory: about 400,000 values.
SEGMENT_SIZE: Final = 1 << 26
_USED, _PID, _FIRST = 0, 1, 2  # in words of 8 bytes: end of the entries, process that writes, first entry
_GAUGE: Final = "gauge"


class Key(NamedTuple):
    """What a value is of."""

    kind: str
    metric: str
    sample: str
    label_names: tuple[str, ...]
    label_values: tuple[str, ...]
    mode: str

    def encode(self) -> bytes:
        """Return the key as it stands in memory, filled up to whole words."""
        content = json.dumps(self, separators=(",", ":")).encode()
        return content + b" " * (-len(content) % 8)

    @classmethod
    def decode(cls, content: bytes) -> "Key":
        """Read a key back."""
        kind, metric, sample, names, label_values, mode = json.loads(content)
        return cls(kind, metric, sample, tuple(names), tuple(label_values), mode)


class Segment:
    """The values of one process. One process writes, any may read; made before the processes are forked.

    An entry is the value, the length of the key in words, and the key. The end of the entries moves when a new one is complete.
    """

    def __init__(self, *, size: int = SEGMENT_SIZE) -> None:
        self._memory = mmap.mmap(-1, size)
        self._bytes = memoryview(self._memory)
        self.numbers: Final = self._bytes.cast("d")
        self._words = self._bytes.cast("q")
        self._words[_USED] = _FIRST
        self._places: dict[bytes, int] | None = None

    @property
    def pid(self) -> int:
        """Process that writes, 0 while there is none."""
        return self._words[_PID]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._words[_PID] = pid

    def place(self, key: bytes) -> int | None:
        """Return the index in `numbers` of the value of a key, making an entry if there is none; None if the memory is full."""
        if self._places is None:  # those of the process that had this segment before
            self._places = {key: index for key, index, _ in self._entries()}
        index = self._places.get(key)
        if index is None:
            index = self._words[_USED]
            end = index + 2 + len(key) // 8
            if end > len(self._words):
                return None
            self.numbers[index] = 0.0
            self._words[index + 1] = len(key) // 8
            self._bytes[(index + 2) * 8 : end * 8] = key
            self._words[_USED] = end
            self._places[key] = index
        return index

    def items(self) -> Iterator[tuple[bytes, float]]:
        """Give every key with its value; a series that was taken back is left out."""
        for key, _, value in self._entries():
            if not isnan(value):
                yield key, value

    def forget_gauges(self) -> None:
        """Take the gauges of a process that has ended back; its counts stay."""
        self.pid = 0
        for key, index, _ in self._entries():
            if Key.decode(key).kind == _GAUGE:
                self.numbers[index] = nan

    def _entries(self) -> Iterator[tuple[bytes, int, float]]:
        index, end = _FIRST, self._words[_USED]
        while index < end:
            length = self._words[index + 1]
            yield bytes(self._bytes[(index + 2) * 8 : (index + 2 + length) * 8]), index, self.numbers[index]
            index += 2 + length


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
            index = segment.place(key.encode())
            self._numbers, self._index = (memoryview(bytearray(8)).cast("d"), 0) if index is None else (segment.numbers, index)
            if kind == _GAUGE:
                self._numbers[self._index] = 0.0

        def inc(self, amount: float) -> None:
            self._numbers[self._index] += amount  # without a lock: what happens is reported on the event loop

        def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002 -- for a mode that is not used
            self._numbers[self._index] = value

        def get(self) -> float:
            return self._numbers[self._index]

        def set_exemplar(self, exemplar: object) -> None:
            """Exemplars stay behind: they are not numbers."""

        def get_exemplar(self) -> None:
            return None

    values.ValueClass = SharedValue
