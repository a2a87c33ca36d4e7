"""Fit a Keras model to the training rows: the same way every time, and from a checkpoint as if nothing had happened."""

import time
from pathlib import Path

import keras

from training.datasets.dataset import Rows
from training.fitting.checkpoint import Checkpoint, fingerprint, fit_variables
from training.fitting.compiling import Labels, prepare_work
from training.fitting.history import History
from training.fitting.logs import Logs
from training.fitting.loop import Loop
from training.fitting.randomness import to_float32
from training.fitting.saving import Saver, sole_use
from training.fitting.workers import Alone, Workers
from training.progress import Display
from training.spec import TrainingSpec
from training.stopping import StopCheck, Stopped, never


def fit(  # noqa: PLR0913 -- all but the first four and the place have a default that does nothing
    model: keras.Model,
    train: Rows,
    validation: Rows,
    spec: TrainingSpec,
    *,
    workdir: Path,
    display: Display,
    stop: StopCheck = never,
    labels: Labels = (),
    workers: Workers | None = None,
) -> History:
    """Fit `model` in place on `train`, steered by `validation`; go on from the checkpoint in `workdir` if there is one.

    The rows' inputs go by the names of the model's inputs, their targets in the order of its outputs. `workdir` is made if need be,
    and gets metrics.csv and a checkpoint that stays until `discard_checkpoint`: what comes after the fit can be tried again without
    training anew. `labels` names each output's label indices, for class_weights by name. The same bits come out whether the fit was
    killed and resumed or not, if `fix_randomness` was called before the model was built and every random layer draws from a
    keras.random.SeedGenerator, as Keras' own do.

    Of several `workers` the first keeps checkpoint and logs in `workdir`; the others go on from its checkpoint, and log in a
    directory of their own below it.

    Raises FitRefused before the first epoch if the parts do not go together, FitFailed when the loss is no number any more, and
    what `stop` raises, after writing a checkpoint.
    """
    workers = workers or Alone()
    work = prepare_work(model, train, validation, spec, labels, workers)
    own = workdir / f"worker-{workers.cluster.rank}" if workers.cluster.helps else workdir
    logs = Logs(own, tensorboard=spec.tensorboard)
    saver = Saver(workdir, fingerprint(spec, (train, validation), fit_variables(model)), keeps=not workers.cluster.helps)
    loop = Loop(work)
    with sole_use(own), stop.deferred(), workers.watched():
        checkpoint = saver.read()
        workers.require_same(spec, 0 if checkpoint is None else checkpoint.progress.steps(work.batches))
        history = _run(loop, checkpoint, saver, logs, display, stop)
    to_float32(model)
    return history


def _run(loop: Loop, checkpoint: Checkpoint | None, saver: Saver, logs: Logs, display: Display, stop: StopCheck) -> History:
    """Resume, run to the end, and leave a checkpoint in any case but a crash."""
    started = time.perf_counter()
    resumed, finished = None, False
    if checkpoint is not None:
        finished = checkpoint.progress.finished  # now: the loop goes on with this very object
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
    if not finished:
        saver.save(loop.checkpoint())
    return loop.history(resumed_from=resumed, seconds=time.perf_counter() - started)
