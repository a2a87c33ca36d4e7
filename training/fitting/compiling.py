"""A spec's losses, metrics and optimizer on a model, and the rows in the form that the losses compare, one loss for each output."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from training.datasets.dataset import Array, Rows
from training.errors import FitRefused
from training.fitting.batches import Examples
from training.fitting.loop import Work
from training.fitting.losses import Relative, build_loss, build_metrics, cost_of_the_mean, wants_indices
from training.fitting.optimizers import build_optimizer
from training.fitting.steps import Steps
from training.fitting.targets import are_labels, class_weights, compared
from training.fitting.workers import Workers
from training.spec import OutputSpec, TrainingSpec

Shape = tuple[int | None, ...]
Labels = Sequence[tuple[str, ...]]


def prepare_work(model: keras.Model, train: Rows, validation: Rows, spec: TrainingSpec, labels: Labels, workers: Workers) -> Work:
    """Compile the model and put the rows into the form that its losses compare. Raises FitRefused."""
    for rows, name in ((train, "training"), (validation, "validation")):
        if not len(rows):
            raise FitRefused(f"There are no {name} rows; expected at least one. Change the fractions of [dataset].")
    goals, shapes = tuple(spec.goals.values()), _output_shapes(model, train)
    examples = Examples(train.inputs, _targets(train, goals, shapes), _weights(train, goals, labels))
    held_out = Examples(validation.inputs, _targets(validation, goals, shapes))
    steps_per_epoch = -(-len(train) // spec.batch_size)
    model.compile(
        optimizer=build_optimizer(spec.optimizer, spec.schedule, epochs=spec.epochs, steps=steps_per_epoch),
        **_judged_by(goals, train, examples, shapes),
    )
    _require_monitors(model, train, spec)
    workers.join(model)
    steps = Steps(model, examples, batch_size=spec.batch_size, workers=workers)
    return Work(model=model, steps=steps, train=examples, validation=held_out, spec=spec)


def _judged_by(goals: tuple[OutputSpec, ...], train: Rows, examples: Examples, shapes: tuple[Shape, ...]) -> dict[str, Any]:
    """Return losses, their weights and metrics as `compile` takes them: lists by output, or those of the only one."""
    losses = [build_loss(goal.loss) for goal in goals]
    metrics = [
        build_metrics(labels=are_labels(targets), outputs=shape[-1] or 0, indices=wants_indices(goal.loss))
        for goal, targets, shape in zip(goals, train.targets.values(), shapes, strict=True)
    ]
    costs = [
        cost_of_the_mean(loss, targets) if goal.task == "regression" else 1.0
        for goal, loss, targets in zip(goals, losses, examples.targets, strict=True)
    ]
    if len(goals) == 1:
        regression = goals[0].task == "regression"
        return {"loss": Relative(losses[0], costs[0]) if regression else losses[0], "metrics": metrics[0]}
    weights = [goal.weight / cost for goal, cost in zip(goals, costs, strict=True)]
    return {"loss": losses, "loss_weights": weights, "metrics": metrics}


def _output_shapes(model: keras.Model, rows: Rows) -> tuple[Shape, ...]:
    """Return the shape of each output, batch axis first. Raises FitRefused if there are not as many targets."""
    outputs = getattr(model, "outputs", None)
    if not outputs:  # a subclassed model: its shape is known when it has seen a row
        first = Examples(rows.inputs, tuple(rows.targets.values())).data(slice(0, 1), model)[0]
        outputs = keras.tree.flatten(model(first, training=False))
    if len(outputs) != len(rows.targets):
        raise FitRefused(
            f"The model has {len(outputs)} outputs and the dataset {len(rows.targets)} targets; expected one for each. "
            "Name the target of each output under [outputs]."
        )
    return tuple((None, *output.shape[1:]) for output in outputs)


def _targets(rows: Rows, goals: tuple[OutputSpec, ...], shapes: tuple[Shape, ...]) -> tuple[Array, ...]:
    parts = zip(rows.targets.values(), goals, shapes, strict=True)
    return tuple(compared(targets, goal.loss, shape) for targets, goal, shape in parts)


def _weights(rows: Rows, goals: tuple[OutputSpec, ...], labels: Labels) -> tuple[Array, ...] | None:
    """Return the weight of each row for each output; None if all of them are 1."""
    if all(goal.class_weights is None for goal in goals):
        return None
    found = []
    for index, (goal, targets) in enumerate(zip(goals, rows.targets.values(), strict=True)):
        if goal.class_weights is None:
            found.append(np.ones(len(rows), np.float32))
        elif are_labels(targets):
            found.append(class_weights(targets, goal.class_weights, labels[index] if labels else ()))
        else:
            raise FitRefused("class_weights weigh labels, and the targets of this dataset are numbers; leave the key out.")
    return tuple(found)


def _require_monitors(model: keras.Model, rows: Rows, spec: TrainingSpec) -> None:
    """Raise FitRefused for a monitor that these targets do not have."""
    known = ["loss"]
    for output, targets in enumerate(rows.targets.values()):
        prefix = f"{model.output_names[output]}_" if len(rows.targets) > 1 else ""
        known += [f"{prefix}loss"] if prefix else []
        known += [f"{prefix}{name}" for name in (("accuracy",) if are_labels(targets) else ("mae", "rmse"))]
    watching = {"early_stopping": spec.early_stopping, "schedule": spec.schedule}
    for section, part in watching.items():
        monitor = getattr(part, "monitor", "loss")
        if monitor.removeprefix("val_") not in known:
            names = ", ".join(f"{prefix}{name}" for prefix in ("val_", "") for name in known)
            raise FitRefused(f"{section}.monitor = '{monitor}' is not measured for this dataset; expected one of {names}.")
