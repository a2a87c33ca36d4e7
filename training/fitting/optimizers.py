"""A spec's optimizer and schedule as Keras' object."""

import math
from typing import Any

import keras
import msgspec
import tensorflow as tf

from training.spec.optimizers import OptimizerSpec
from training.spec.schedules import Cosine, Exponential, Piecewise, ScheduleSpec


class FusedAdam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras is untyped
    """Keras' Adam, each weight's step in TensorFlow's one kernel for it, where Keras' takes a dozen over the same memory.

    The formula is the same, the last bits may differ. AdamW is Adam with a weight decay, which Keras applies before it.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:  # noqa: ANN401 -- Keras' signature
        """Apply one gradient; a sparse one, an embedding's, is left to Keras, and so is amsgrad, which the kernel does not know."""
        if self.amsgrad or isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        number = tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, variable.dtype), tf.cast(self.beta_2, variable.dtype)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(beta_1, number),
            beta2_power=tf.pow(beta_2, number),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
        )


def build_optimizer(spec: OptimizerSpec, schedule: ScheduleSpec, *, epochs: int, steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer with its schedule, for `epochs` of `steps` batches each."""
    options: dict[str, Any] = msgspec.to_builtins(spec)
    config = options | {"learning_rate": _learning_rate(spec.learning_rate, schedule, epochs=epochs, steps=steps)}
    config = {name: value for name, value in config.items() if name != "name" and value is not None}
    if options["name"] in ("adam", "adamw"):
        return FusedAdam(**config)
    return keras.optimizers.get({"class_name": options["name"], "config": config})


def learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the rate that the optimizer has reached: its next step's."""
    return float(getattr(optimizer, "inner_optimizer", optimizer).learning_rate)


def set_learning_rate(optimizer: keras.optimizers.Optimizer, rate: float) -> None:
    """Change the rate of an optimizer that has no schedule of its own."""
    getattr(optimizer, "inner_optimizer", optimizer).learning_rate = rate


def _learning_rate(rate: float, schedule: ScheduleSpec, *, epochs: int, steps: int) -> Any:  # noqa: ANN401 -- a number or Keras' object
    """Return a schedule that counts in steps, or the rate itself, which `reduce_on_plateau` then changes after an epoch."""
    schedules = keras.optimizers.schedules
    if isinstance(schedule, Exponential):
        every = max(1, round(schedule.epochs * steps))
        return schedules.ExponentialDecay(rate, every, schedule.factor, staircase=schedule.staircase)
    if isinstance(schedule, Piecewise):
        # Keras keeps the old value at the boundary step itself, and counts steps from 0.
        boundaries = [epoch * steps - 1 for epoch in schedule.after]
        factors = [math.prod(schedule.factors[:count]) for count in range(len(schedule.factors) + 1)]
        return schedules.PiecewiseConstantDecay(boundaries, [rate * factor for factor in factors])
    if isinstance(schedule, Cosine):
        warmup = round(schedule.warmup_epochs * steps)
        options = {"warmup_target": rate, "warmup_steps": warmup} if warmup else {}
        start = 0.0 if warmup else rate
        return schedules.CosineDecay(start, max(1, epochs * steps - warmup), alpha=schedule.final, **options)
    return rate
