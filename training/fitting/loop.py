"""The epochs of a fit. Between two chunks of batches it can be written down whole, and another process goes on from there."""

import math
import time
from collections.abc import Callable
from typing import Any

import keras
from msgspec import Struct

from training.errors import FitFailed
from training.fitting.batches import Examples, Pace, order_of
from training.fitting.checkpoint import Arrays, Checkpoint, Progress, assign, fit_variables, values_of
from training.fitting.history import Epoch, History
from training.fitting.monitors import patience_ended, reduced_rate
from training.fitting.optimizers import learning_rate, set_learning_rate
from training.fitting.steps import Metrics, Steps
from training.progress import Followed
from training.spec import TrainingSpec
from training.spec.schedules import ReduceOnPlateau


class Work(Struct, frozen=True, kw_only=True):
    """What is fitted with what: a compiled model, its steps, and the rows."""

    model: keras.Model
    steps: Steps
    train: Examples
    validation: Examples
    spec: TrainingSpec

    @property
    def batches(self) -> int:
        """Batches of an epoch; the last may be smaller."""
        return math.ceil(len(self.train) / self.spec.batch_size)


class Loop:
    """A fit under way. Its state is the values of the model's variables, the progress and the best epoch's weights."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._variables = fit_variables(work.model)
        self._best: Arrays = []
        self._pace = Pace(work.train.row_bytes * work.spec.batch_size)
        self._gathering = 0.0
        self.progress = Progress()

    @property
    def epochs(self) -> int:
        """The most epochs there will be."""
        return self._work.spec.epochs

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Take the state of a checkpoint."""
        assign(self._variables, checkpoint.state)
        self._best = checkpoint.best
        self.progress = checkpoint.progress

    def checkpoint(self) -> Checkpoint:
        """Return the state, copied."""
        return Checkpoint(self.progress, values_of(self._variables), self._best)

    def run(self, followed: Followed, between: Callable[[], None], ended: Callable[[int, Epoch], None]) -> None:
        """Run the epochs that are left, and restore the best one's weights if the spec asks for them.

        `between` is called between two chunks, where the state is whole; `ended` with each epoch, counted from 1. Raises FitFailed
        when the loss is no finite number.
        """
        progress, spec = self.progress, self._work.spec
        while not progress.stopped_early and len(progress.epochs) < spec.epochs:
            number = len(progress.epochs) + 1
            if progress.trained is None:
                self._train(number, followed, between)
            self._end_epoch(self._validate(between))
            ended(number, progress.epochs[-1])
            followed.finished(number, progress.epochs[-1].metrics)
            between()
        if self._best and not progress.finished:
            assign(self._work.model.weights, self._best)
        progress.finished = True

    def history(self, *, resumed_from: int | None, seconds: float) -> History:
        """Return what happened; `seconds` is the wall time of this process's share of it."""
        progress = self.progress
        return History(
            epochs=tuple(progress.epochs),
            stopped_early=progress.stopped_early,
            best_epoch=progress.best_epoch,
            resumed_from=resumed_from,
            input_share=self._gathering / seconds if seconds else 0.0,
        )

    def _train(self, number: int, followed: Followed, between: Callable[[], None]) -> None:
        """Take the steps of an epoch that are left of it."""
        work, progress, size = self._work, self.progress, self._work.spec.batch_size
        order = order_of(len(work.train), seed=work.spec.seed, epoch=number - 1)
        if not progress.batches:
            work.model.reset_metrics()
        while progress.batches < work.batches:
            count = min(self._pace.next(), work.batches - progress.batches)
            started = time.perf_counter()
            data = work.train.data(order[progress.batches * size : (progress.batches + count) * size], work.model)
            self._gathering += time.perf_counter() - started
            metrics = work.steps.train(data)
            progress.seconds += time.perf_counter() - started
            progress.batches += count
            self._pace.ran(count)
            _require_finite(number, metrics)
            if progress.batches == work.batches:
                progress.trained = metrics
            followed.within(number, progress.batches / work.batches, metrics)
            between()

    def _validate(self, between: Callable[[], None]) -> Metrics:
        """Return the metrics of the validation rows. Cut short, it is begun anew: it changes nothing but the metrics."""
        work = self._work
        work.model.reset_metrics()
        rows = work.steps.test_batch * max(1, self._pace.next() * work.spec.batch_size // work.steps.test_batch)
        started = time.perf_counter()
        metrics: Metrics = {}
        for start in range(0, len(work.validation), rows):
            metrics = work.steps.test(work.validation.data(slice(start, start + rows), work.model))
            between()
        self.progress.seconds += time.perf_counter() - started
        return metrics

    def _end_epoch(self, validated: Metrics) -> None:
        """Book the epoch, and let the monitors judge it."""
        progress, optimizer = self.progress, self._work.model.optimizer
        metrics = {**(progress.trained or {}), **{f"val_{name}": value for name, value in validated.items()}}
        progress.epochs.append(Epoch(metrics, progress.seconds, learning_rate(optimizer)))
        progress.batches, progress.seconds, progress.trained = 0, 0.0, None
        self._stop_early(metrics)
        schedule = self._work.spec.schedule
        if isinstance(schedule, ReduceOnPlateau):
            rate = learning_rate(optimizer)
            set_learning_rate(optimizer, reduced_rate(schedule, progress.plateau, metrics[schedule.monitor], rate))

    def _stop_early(self, metrics: Metrics) -> None:
        spec, progress = self._work.spec.early_stopping, self.progress
        if spec is None:
            return
        if progress.stopping.improves(spec.monitor, metrics[spec.monitor], spec.min_delta) and spec.restore_best:
            self._best = values_of(self._work.model.weights)
            progress.best_epoch = len(progress.epochs)
        progress.stopped_early = patience_ended(spec, progress.stopping)


def _require_finite(epoch: int, metrics: dict[str, Any]) -> None:
    if not math.isfinite(metrics["loss"]):
        raise FitFailed(epoch, metrics["loss"])
