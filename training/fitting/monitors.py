"""Watching a metric for improvement: early stopping, and the learning rate that falls on a plateau. Their state is plain data."""

import math

from msgspec import Struct

from training.spec.fit import EarlyStopping
from training.spec.schedules import ReduceOnPlateau

_HIGHER_IS_BETTER = ("accuracy",)


class Watch(Struct):
    """The best value so far, and the epochs since; part of a checkpoint."""

    best: float | None = None
    waited: int = 0
    cooling: int = 0

    def improves(self, monitor: str, value: float, min_delta: float) -> bool:
        """Take the value of another epoch, and tell whether it is better than the best by more than `min_delta`."""
        sign = -1 if monitor.endswith(_HIGHER_IS_BETTER) else 1
        if math.isfinite(value) and (self.best is None or sign * (self.best - value) > min_delta):
            self.best, self.waited = value, 0
            return True
        self.waited += 1
        return False


def patience_ended(spec: EarlyStopping, watch: Watch) -> bool:
    """Tell whether the fit has gone `patience` epochs without improvement."""
    return watch.waited >= spec.patience


def reduced_rate(spec: ReduceOnPlateau, watch: Watch, value: float, rate: float) -> float:
    """Return the learning rate for the next epoch, `value` being the monitor's at the end of this one."""
    if watch.cooling:
        watch.cooling -= 1
        watch.improves(spec.monitor, value, spec.min_delta)
        watch.waited = 0
        return rate
    if watch.improves(spec.monitor, value, spec.min_delta) or watch.waited < spec.patience:
        return rate
    watch.waited, watch.cooling = 0, spec.cooldown
    return max(rate * spec.factor, min(spec.minimum, rate))
