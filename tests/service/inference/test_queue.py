import asyncio
from collections.abc import Callable, Hashable, Iterator

import numpy as np
import pytest

from service.inference.entry import Entry
from service.inference.queue import EntryQueue

MakeEntry = Callable[..., Entry]


@pytest.fixture
def entry() -> Iterator[MakeEntry]:
    """Return a function that makes an entry of some rows."""
    loop = asyncio.new_event_loop()

    def make(rows: int = 1, key: Hashable = None, level: int = 0) -> Entry:
        return Entry([np.zeros((rows, 1))], rows, key, loop.create_future(), level=level)

    yield make
    loop.close()


def queue_of(*entries: Entry) -> EntryQueue:
    queue = EntryQueue()
    for each in entries:
        queue.append(each)
    return queue


def test_entries_leave_in_the_order_of_their_arrival(entry: MakeEntry) -> None:
    first, second, third = entry(), entry(), entry()
    queue = queue_of(first, second, third)

    assert queue.take(None, max_rows=2) == [first, second]
    assert queue.take(None, max_rows=2) == [third]
    assert queue.rows == 0
    assert queue.head() is None


def test_rows_are_counted_not_entries(entry: MakeEntry) -> None:
    first, second, third = entry(3), entry(2), entry(1)
    queue = queue_of(first, second, third)

    assert queue.rows == 6
    assert queue.take(None, max_rows=5) == [first, second]
    assert queue.rows == 1


def test_entry_that_does_not_fit_is_not_overtaken(entry: MakeEntry) -> None:
    first, large, small = entry(2), entry(4), entry(1)
    queue = queue_of(first, large, small)

    assert queue.take(None, max_rows=4) == [first]
    assert queue.take(None, max_rows=4) == [large]


def test_entry_larger_than_a_batch_leaves_alone(entry: MakeEntry) -> None:
    large = entry(9)
    queue = queue_of(large, entry())

    assert queue.take(None, max_rows=4) == [large]


def test_batch_holds_entries_of_one_key(entry: MakeEntry) -> None:
    first, other, second = entry(key="a"), entry(key="b"), entry(key="a")
    queue = queue_of(first, other, second)

    assert queue.take("a", max_rows=10) == [first, second]
    assert queue.head() is other


def test_oldest_lane_comes_first(entry: MakeEntry) -> None:
    first, second = entry(key="b"), entry(key="a")
    queue = queue_of(first, second)

    assert queue.head() is first


def test_full_lane_is_found_behind_an_older_one(entry: MakeEntry) -> None:
    old, head = entry(key="a"), entry(2, key="b")
    queue = queue_of(old, head, entry(2, key="b"))

    assert queue.full_head(4) is head
    assert queue.full_head(5) is None


def test_abandoned_entries_make_room(entry: MakeEntry) -> None:
    gone, waiting = entry(4), entry(1)
    queue = queue_of(gone, waiting)
    gone.future.cancel()
    queue.abandon(gone)

    assert queue.rows == 1
    assert queue.take(None, max_rows=10) == [waiting]


def test_abandoned_entries_are_dropped_when_a_batch_forms(entry: MakeEntry) -> None:
    first, gone, second = entry(2), entry(2), entry(2)
    queue = queue_of(first, gone, second)
    gone.future.cancel()

    assert queue.take(None, max_rows=4) == [first, second]


def test_lane_of_abandoned_entries_gives_nothing(entry: MakeEntry) -> None:
    gone = entry()
    queue = queue_of(gone)
    gone.future.cancel()

    assert queue.take(None, max_rows=4) == []
    assert queue.rows == 0


def test_oldest_is_one_that_still_waits(entry: MakeEntry) -> None:
    gone, waiting = entry(key="a"), entry(key="b")
    queue = queue_of(gone, waiting)
    gone.future.cancel()

    assert queue.head() is waiting


def test_lower_levels_leave_first(entry: MakeEntry) -> None:
    """In one lane and among lanes; within a level the order is that of arrival."""
    late, first, urgent, second, other = entry(level=3), entry(level=2), entry(level=1), entry(level=2), entry(key="b", level=1)
    queue = queue_of(late, first, urgent, second, other)

    assert queue.head() is urgent
    assert queue.take(None, max_rows=3) == [urgent, first, second]
    assert queue.head() is other


def test_rows_before_a_level_are_counted(entry: MakeEntry) -> None:
    urgent, late, gone = entry(2, level=1), entry(5, level=2), entry(7, level=2)
    queue = queue_of(urgent, late, gone)
    queue.abandon(gone)

    assert [queue.rows_before(level) for level in (0, 1, 2)] == [0, 2, 7]
    assert queue.entries == 2
