"""Fit a Keras model to the training rows: the same way every time, and from a checkpoint as if nothing had happened."""

import time
from pathlib import Path

import keras

from training.datasets.dataset import Array, Rows
from training.errors import FitRefused
from training.fitting.batches import Examples
from training.fitting.checkpoint import fingerprint, fit_variables
from training.fitting.history import History
from training.fitting.logs import Logs
from training.fitting.loop import Loop, Work
from training.fitting.losses import build_loss, build_metrics, wants_indices
from training.fitting.optimizers import build_optimizer
from training.fitting.randomness import to_float32
from training.fitting.saving import Saver, sole_use
from training.fitting.steps import Steps
from training.fitting.targets import are_labels, class_weights, compared
from training.progress import Display
from training.spec import TrainingSpec
from training.stopping import StopCheck, Stopped, never


def fit(
    model: keras.Model,
    train: Rows,
    validation: Rows,
    spec: TrainingSpec,
    *,
    workdir: Path,
    display: Display,
    stop: StopCheck = never,
    labels: tuple[str, ...] = (),
) -> History:
    """Fit `model` in place on `train`, steered by `validation`; go on from the checkpoint in `workdir` if there is one.

    The rows' inputs go by the names of the model's inputs. `workdir` is made if need be, and gets metrics.csv and a checkpoint that
    stays until `discard_checkpoint`: what comes after the fit can be tried again without training anew. `labels` names the label
    indices, for class_weights by name. The same bits come out whether the fit was killed and resumed or not, if `fix_randomness`
    was called before the model was built and every random layer draws from a keras.random.SeedGenerator, as Keras' own do.

    Raises FitRefused before the first epoch if the parts do not go together, FitFailed when the loss is no number any more, and
    what `stop` raises, after writing a checkpoint.
    """
    work = _prepare(model, train, validation, spec, labels)
    logs = Logs(workdir, tensorboard=spec.tensorboard)
    saver = Saver(workdir, fingerprint(spec, (train, validation), fit_variables(model)))
    with sole_use(workdir), stop.deferred():
        history = _run(Loop(work), saver, logs, display, stop)
    to_float32(model)
    return history


def _run(loop: Loop, saver: Saver, logs: Logs, display: Display, stop: StopCheck) -> History:
    """Resume, run to the end, and leave a checkpoint in any case but a crash."""
    checkpoint, started = saver.read(), time.perf_counter()
    resumed = None
    if checkpoint is not None:
        loop.go_on_from(checkpoint)
        resumed = len(loop.progress.epochs)
        display.step(f"Resuming after {resumed} whole epochs from {saver.directory}")
    logs.restart(loop.progress.epochs)

    def between() -> None:
        if saver.due:
            saver.save(loop.checkpoint())
        stop()

    try:
        with display.epochs(loop.epochs, done=resumed or 0) as followed:
            loop.run(followed, between, logs.add)
    except Stopped as stopped:
        saver.save(loop.checkpoint())
        stopped.add_note(f"The fit is kept in {saver.directory}; run the same command again to go on from there.")
        raise
    if checkpoint is None or not checkpoint.progress.finished:
        saver.save(loop.checkpoint())
    return loop.history(resumed_from=resumed, seconds=time.perf_counter() - started)


def _prepare(model: keras.Model, train: Rows, validation: Rows, spec: TrainingSpec, labels: tuple[str, ...]) -> Work:
    """Compile the model and put the rows into the form that its loss compares. Raises FitRefused."""
    shape = _output_shape(model, train)
    for rows, name in ((train, "training"), (validation, "validation")):
        if not len(rows):
            raise FitRefused(f"There are no {name} rows; expected at least one. Change the fractions of [dataset].")
    examples = Examples(train.inputs, compared(train, spec.loss, shape), _weights(train, spec, labels))
    held_out = Examples(validation.inputs, compared(validation, spec.loss, shape))
    steps_per_epoch = -(-len(train) // spec.batch_size)
    model.compile(
        optimizer=build_optimizer(spec.optimizer, spec.schedule, epochs=spec.epochs, steps=steps_per_epoch),
        loss=build_loss(spec.loss),
        metrics=build_metrics(labels=are_labels(train), outputs=shape[-1] or 0, indices=wants_indices(spec.loss)),
    )
    _require_monitors(train, spec)
    steps = Steps(model, examples, batch_size=spec.batch_size)
    return Work(model=model, steps=steps, train=examples, validation=held_out, spec=spec)


def _output_shape(model: keras.Model, rows: Rows) -> tuple[int | None, ...]:
    """Return the shape of the model's one output, batch axis first."""
    outputs = getattr(model, "outputs", None)
    if not outputs:  # a subclassed model: its shape is known when it has seen a row
        first = Examples(rows.inputs, rows.targets).data(slice(0, 1), model)[0]
        outputs = keras.tree.flatten(model(first, training=False))
    if len(outputs) != 1:
        raise FitRefused(
            f"The model has {len(outputs)} outputs and a dataset one target; expected one output. "
            "Fit such a model in your own code, save it as .keras, and publish it with `axon export`."
        )
    return (None, *outputs[0].shape[1:])


def _weights(rows: Rows, spec: TrainingSpec, labels: tuple[str, ...]) -> Array | None:
    if spec.class_weights is None:
        return None
    if not are_labels(rows):
        raise FitRefused("class_weights weigh labels, and the targets of this dataset are numbers; leave the key out.")
    return class_weights(rows.targets, spec.class_weights, labels)


def _require_monitors(rows: Rows, spec: TrainingSpec) -> None:
    """Raise FitRefused for a monitor that this kind of target does not have."""
    known = ("loss", "accuracy") if are_labels(rows) else ("loss", "mae", "rmse")
    watching = {"early_stopping": spec.early_stopping, "schedule": spec.schedule}
    for section, part in watching.items():
        monitor = getattr(part, "monitor", "loss")
        if monitor.removeprefix("val_") not in known:
            names = ", ".join(f"{prefix}{name}" for prefix in ("val_", "") for name in known)
            raise FitRefused(f"{section}.monitor = '{monitor}' is not measured for this dataset; expected one of {names}.")
