"""How many rows a run should have, by a clock that only the runs move on."""

from collections.abc import Callable

import pytest

from service.inference.preferred_batch import preferred_rows

MILLISECOND = 1e-3


def preferred(seconds: Callable[[int], float], largest: int = 64) -> tuple[int, list[int]]:
    """Return what is preferred if a run of so many rows takes so many seconds, and the sizes of all runs."""
    now = 0.0
    sizes: list[int] = []

    def run(rows: int) -> None:
        nonlocal now
        sizes.append(rows)
        now += seconds(rows)

    return preferred_rows(run, largest, clock=lambda: now), sizes


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [
        pytest.param(lambda _: 0.1 * MILLISECOND, 64, id="a run costs the same with any rows: a full batch"),
        pytest.param(lambda rows: 10 * rows * MILLISECOND, 1, id="a row costs the same in any run: one"),
        pytest.param(lambda rows: 0.2 * MILLISECOND + 0.05 * MILLISECOND * rows, 64, id="large batches pay"),
        pytest.param(lambda rows: (0.05 + 0.05 * rows + 0.001 * max(0, rows - 16) ** 2) * MILLISECOND, 16, id="they stop paying"),
    ],
)
def test_fewest_rows_with_nearly_the_best_throughput_are_preferred(seconds: Callable[[int], float], rows: int) -> None:
    assert preferred(seconds)[0] == rows


def test_largest_batch_need_be_no_power_of_two() -> None:
    assert preferred(lambda _: MILLISECOND, largest=48) == (
        48,
        [size for size in (1, 2, 4, 8, 16, 32, 48) for _ in (1, 2)] + [1, 2, 4, 8, 16, 32, 48] * 19,
    )


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [
        pytest.param(lambda rows: 0.2 + 0.001 * rows, 64, id="as far as it goes"),
        pytest.param(lambda rows: 0.2 + 0.02 * rows, 64, id="when patience ends"),
        pytest.param(lambda rows: 0.12 if rows <= 8 else 0.12 * rows / 8, 8, id="as long as it pays"),
    ],
)
def test_slow_graph_that_gains_by_large_batches_gets_them(seconds: Callable[[int], float], rows: int) -> None:
    assert preferred(seconds)[0] == rows


def test_slow_graph_is_not_run_with_ever_more_rows() -> None:
    rows, sizes = preferred(lambda rows: 0.07 * rows)

    assert rows == 1
    assert sizes == [1, 1, 2, 2, 2, 2]
