"""What waits for a session: entries by priority and arrival, taken out as batches of entries that go together."""

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable

from service.inference.entry import Entry


class _Lane:
    """The waiting entries of one key, the lowest level first and the oldest first among its like, and their rows."""

    __slots__ = ("entries", "rows")

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.rows = 0

    def add(self, entry: Entry) -> None:
        if self.entries and entry.level < self.entries[-1].level:
            self.entries.insert(bisect_right(self.entries, entry.level, key=_level), entry)
        else:
            self.entries.append(entry)
        self.rows += entry.rows


class EntryQueue:
    """Entries that may share a run stand in a lane of their own; the lane with the most urgent head comes first.

    Not thread-safe: who changes it on several threads needs a lock.
    """

    def __init__(self) -> None:
        self._lanes: dict[Hashable, _Lane] = {}
        self._rows_by_level: dict[int, int] = {}
        self.rows = 0
        self.entries = 0

    def rows_before(self, level: int) -> int:
        """Count the rows that would run before those of a new entry of `level`."""
        return sum(rows for other, rows in self._rows_by_level.items() if other <= level)

    def append(self, entry: Entry) -> None:
        """Put an entry behind those of its level."""
        lane = self._lanes.get(entry.key)
        if lane is None:
            lane = self._lanes[entry.key] = _Lane()
        entry.takes_room = True
        lane.add(entry)
        self._rows_by_level[entry.level] = self._rows_by_level.get(entry.level, 0) + entry.rows
        self.rows += entry.rows
        self.entries += 1

    def abandon(self, entry: Entry) -> None:
        """Let an entry whose caller has left take no more room; it is dropped when its turn comes."""
        self._release(entry)

    def head(self) -> Entry | None:
        """Return the entry whose turn it is: of the lowest level, the one that has waited longest. None if nobody waits."""
        while self._lanes:
            lane = min(self._lanes.values(), key=_turn) if len(self._lanes) > 1 else next(iter(self._lanes.values()))
            if not lane.entries[0].abandoned:
                return lane.entries[0]
            self._pop(lane)
        return None

    def full_head(self, rows: int) -> Entry | None:
        """Return the head of the first lane in which at least `rows` rows wait; None if there is none."""
        full = [lane for lane in self._lanes.values() if lane.rows >= rows]
        return min(full, key=_turn).entries[0] if full else None

    def take(self, key: Hashable, *, max_rows: int) -> list[Entry]:
        """Remove and return the first entries of a lane, in order: as many as fit into `max_rows`, and at least one.

        Entries whose caller has left are dropped on the way, so the list is empty if all have.
        """
        lane = self._lanes[key]
        taken: list[Entry] = []
        room = max_rows
        while lane.entries and (lane.entries[0].abandoned or not taken or lane.entries[0].rows <= room):
            entry = self._pop(lane)
            if not entry.abandoned:
                taken.append(entry)
                room -= entry.rows
        return taken

    def _pop(self, lane: _Lane) -> Entry:
        entry = lane.entries.popleft()
        self._release(entry)
        if not lane.entries:
            del self._lanes[entry.key]
        return entry

    def _release(self, entry: Entry) -> None:
        if entry.takes_room:
            entry.takes_room = False
            self.rows -= entry.rows
            self.entries -= 1
            self._rows_by_level[entry.level] -= entry.rows
            self._lanes[entry.key].rows -= entry.rows


def _level(entry: Entry) -> int:
    return entry.level


def _turn(lane: _Lane) -> tuple[int, float]:
    return lane.entries[0].level, lane.entries[0].enqueued_at
