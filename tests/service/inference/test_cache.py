from typing import Any

import numpy as np
import pytest

from service.inference.cache import ResponseCache, key_of


def outputs(value: float, rows: int = 2) -> list[Any]:
    return [np.full((rows, 2), value, dtype=np.float32)]


def test_what_was_put_is_found() -> None:
    cache = ResponseCache(max_bytes=100)
    cache.put(b"a", outputs(1))

    assert cache.get(b"b") is None
    np.testing.assert_array_equal(cache.get(b"a"), outputs(1))


def test_the_one_asked_longest_ago_goes_first() -> None:
    cache = ResponseCache(max_bytes=32)
    cache.put(b"a", outputs(1))
    cache.put(b"b", outputs(2))
    cache.get(b"a")
    cache.put(b"c", outputs(3))

    assert [key for key in (b"a", b"b", b"c") if cache.get(key) is not None] == [b"a", b"c"]


def test_answer_larger_than_the_cache_is_not_kept() -> None:
    cache = ResponseCache(max_bytes=32)
    cache.put(b"large", outputs(1, rows=5))
    cache.put(b"small", outputs(2))

    assert cache.get(b"large") is None
    assert cache.get(b"small") is not None


def test_what_is_kept_is_a_copy_that_nobody_can_change() -> None:
    """An output is often a view of a whole batch: kept as it is, it would keep the batch in memory."""
    cache = ResponseCache(max_bytes=100)
    given = outputs(1)
    cache.put(b"a", given)
    given[0][0] = 5

    kept = cache.get(b"a")
    assert kept is not None
    assert kept[0][0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        kept[0][0] = 5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(np.zeros((1, 4)), np.zeros((4, 1)), id="shape"),
        pytest.param(np.zeros(2, np.float32), np.zeros(2, np.int32), id="datatype"),
        pytest.param(np.array([0.0]), np.array([-0.0]), id="sign of zero"),
        pytest.param(np.array(["ab", "c"], object), np.array(["a", "bc"], object), id="where a string ends"),
    ],
)
def test_different_inputs_have_different_keys(one: Any, other: Any) -> None:
    assert key_of([one]) != key_of([other])
    assert key_of([one]) == key_of([one.copy()])
