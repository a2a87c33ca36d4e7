import math

from training.fitting.monitors import Watch, patience_ended, reduced_rate
from training.spec.fit import EarlyStopping
from training.spec.schedules import ReduceOnPlateau


def test_patience_counts_epochs_without_improvement() -> None:
    spec, watch = EarlyStopping(patience=2), Watch()

    ended = []
    for value in (1.0, 0.9, 0.95, 0.8, 0.85, 0.81):
        watch.improves("val_loss", value, 0.0)
        ended.append(patience_ended(spec, watch))

    assert ended == [False, False, False, False, False, True]
    assert watch.best == 0.8


def test_improvement_must_exceed_min_delta() -> None:
    watch = Watch()

    assert [watch.improves("val_loss", value, 0.1) for value in (1.0, 0.95, 0.91, 0.85)] == [True, False, False, True]


def test_accuracy_improves_upwards() -> None:
    watch = Watch()

    assert [watch.improves("val_accuracy", value, 0.0) for value in (0.5, 0.6, 0.4)] == [True, True, False]


def test_value_that_is_no_number_never_improves() -> None:
    watch = Watch()

    assert not watch.improves("val_loss", math.nan, 0.0)
    assert watch.improves("val_loss", 5.0, 0.0)
    assert not watch.improves("val_loss", math.nan, 0.0)


def test_rate_falls_after_the_patience_and_waits_for_the_cooldown() -> None:
    spec, watch = ReduceOnPlateau(patience=2, factor=0.5, cooldown=2, minimum=0.2), Watch()

    rate, rates = 1.0, []
    for _ in range(12):
        rate = reduced_rate(spec, watch, 1.0, rate)
        rates.append(rate)

    assert rates == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2]
