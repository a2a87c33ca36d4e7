"""What waits for a session: entries in the order of their arrival, taken out as batches of entries that go together."""

from collections import deque
from collections.abc import Hashable

from service.inference.entry import Entry


class _Lane:
    """The waiting entries of one key, oldest first, and their rows."""

    __slots__ = ("entries", "rows")

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.rows = 0


class EntryQueue:
    """Bounded by rows. Entries that may share a run stand in a lane of their own; the lane with the oldest head comes first.

    `max_size` is the largest number of rows that may wait. Not thread-safe: it belongs to the event loop.
    """

    def __init__(self, *, max_size: int) -> None:
        self._max_size = max_size
        self._lanes: dict[Hashable, _Lane] = {}
        self.rows = 0

    def admits(self, rows: int) -> bool:
        """Whether `rows` more rows may wait. A request larger than the queue is admitted when nothing else waits."""
        return not self.rows or self.rows + rows <= self._max_size

    def append(self, entry: Entry) -> None:
        """Put an entry at the end."""
        lane = self._lanes.get(entry.key)
        if lane is None:
            lane = self._lanes[entry.key] = _Lane()
        entry.takes_room = True
        lane.entries.append(entry)
        lane.rows += entry.rows
        self.rows += entry.rows

    def abandon(self, entry: Entry) -> None:
        """Let an entry whose caller has left take no more room; it is dropped when its turn comes."""
        self._release(entry)

    def oldest(self) -> Entry | None:
        """Return the entry that has waited longest and whose caller still waits; None if there is none."""
        while self._lanes:
            lane = min(self._lanes.values(), key=_arrival) if len(self._lanes) > 1 else next(iter(self._lanes.values()))
            if not lane.entries[0].abandoned:
                return lane.entries[0]
            self._pop(lane)
        return None

    def oldest_full(self, rows: int) -> Entry | None:
        """Return the head of the oldest lane in which at least `rows` rows wait; None if there is none."""
        full = [lane for lane in self._lanes.values() if lane.rows >= rows]
        return min(full, key=_arrival).entries[0] if full else None

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
            self._lanes[entry.key].rows -= entry.rows


def _arrival(lane: _Lane) -> float:
    return lane.entries[0].enqueued_at
