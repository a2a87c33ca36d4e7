"""The recipe: spec -> dataset -> features -> network -> fit -> evaluate (gate) -> export -> parity (gate) -> package -> publish."""

from pathlib import Path

import keras

from service.repository.manifest import Manifest
from training.assembling import assemble
from training.datasets import Rows, load_dataset, split
from training.evaluation import Evaluation, evaluate, metrics_of, predict, require_accepted, require_measurable
from training.fitting import (
    History,
    Workers,
    choose_precision,
    discard_checkpoint,
    fit,
    fit_has_ended,
    fix_randomness,
    run_directory,
    workers_of,
)
from training.packaging import dataset_facts, publish_package, published_already, published_now, require_room, require_writable
from training.preparation import prepare
from training.progress import Display
from training.proving import export_and_prove
from training.rehearsal import rehearse_export
from training.run import Data, Judged, Run
from training.scratch import export_scratch
from training.spec import TrainingSpec
from training.standardising import build_network
from training.stopping import StopCheck, never
from training.timing import Stopwatch

__all__ = ["Run", "help_to_fit", "train"]


def train(spec: TrainingSpec, repository: Path, display: Display, *, stop: StopCheck = never, run: Run | None = None) -> Manifest:
    """Train the model of `spec` and publish it as its next version in `repository`.

    Raises a TrainingError, with nothing published, if any step or gate fails; and whatever `stop` raises.
    """
    run, watch = run or Run(), Stopwatch()
    directory = repository / spec.name
    require_writable(directory)
    with watch.step("read and prepare the data"):
        data = _read(spec, display)
    workdir, workers = _join(spec, data, run)
    with watch.step("build and rehearse the export"):
        model = _build(spec, data, display)
    require_room(directory, sum(variable.value.numpy().nbytes for variable in model.variables))
    with watch.step("fit"):
        history = _fit(spec, data, model, workdir, display, stop, workers)
    with watch.step("evaluate"):
        judged = _judge(spec, data, model, history, published_now(directory), force=run.force)
        display.step(f"Ran {history.ran} epochs; test {_told(metrics_of(judged.evaluations['test']))}")
    with export_scratch() as scratch:
        with watch.step("export and prove"):
            proven = export_and_prove(model, data.prepared, spec.export, data.splits.test.inputs, scratch)
        display.step(f"ONNX opset {spec.export.opset} agrees with Keras within {proven.parity.max_abs_error:.1e}")
        manifest = published_already(directory, spec, proven.graphs) if history.fitted_before else None
        if manifest is None:
            package = assemble(spec, data, judged, proven, run, watch)
            stop()
            manifest = publish_package(package, repository)
        else:
            display.step(f"Version {manifest.version} is this very model: an earlier run was cut off after it had published")
    discard_checkpoint(workdir)
    return manifest


def help_to_fit(spec: TrainingSpec, display: Display, *, stop: StopCheck, run: Run) -> None:
    """Take part in the fit of `spec` as one of several workers. The first of them, which calls `train`, does the rest."""
    data = _read(spec, display)
    workdir, workers = _join(spec, data, run)
    _fit(spec, data, _build(spec, data, display), workdir, display, stop, workers)


def _join(spec: TrainingSpec, data: Data, run: Run) -> tuple[Path, Workers]:
    """Return where the fit is kept, and who fits: nobody waits for the others when only what follows the fit is left to do."""
    workdir = run.workdir or run_directory(spec, data.dataset.sha256)
    return workdir, workers_of(run.cluster, fitted=fit_has_ended(workdir))


def _read(spec: TrainingSpec, display: Display) -> Data:
    """Read, divide and prepare the rows; refuse thresholds that cannot be measured on them."""
    dataset = load_dataset(spec.dataset, spec.outputs)
    splits = split(dataset, spec.dataset.split, seed=spec.seed)
    for (name, wanted), goal in zip(spec.goals.items(), dataset.goals, strict=True):
        key = f"outputs.{name}.acceptance" if name else "acceptance"
        require_measurable(wanted.acceptance, goal.task, len(goal.labels), key=key)
    display.step(f"Dataset {dataset.name}: " + ", ".join(f"{rows} {name}" for name, rows in splits.sizes.items()) + " rows")
    prepared = prepare(spec, dataset, splits)
    for remark in prepared.remarks:
        display.step(remark)
    return Data(dataset=dataset, splits=splits, prepared=prepared)


def _build(spec: TrainingSpec, data: Data, display: Display) -> keras.Model:
    """Build the network, and refuse now what could not be exported after the fit."""
    fix_randomness(spec.seed)
    choose_precision(spec.precision)
    signature = data.prepared.network
    model = build_network(spec, signature, data.prepared.splits.train)
    rehearse_export(model, signature, spec.export.opset, memory_limit_mb=spec.export.memory_limit_mb)
    display.step(f"Fitting {model.count_params():,} parameters for at most {spec.epochs} epochs")
    return model


def _fit(
    spec: TrainingSpec, data: Data, model: keras.Model, workdir: Path, display: Display, stop: StopCheck, workers: Workers
) -> History:
    rows, labels = data.prepared.splits, [goal.labels for goal in data.dataset.goals]
    return fit(
        model, rows.train, rows.validation, spec, workdir=workdir, display=display, stop=stop, labels=labels, workers=workers
    )


def _judge(
    spec: TrainingSpec, data: Data, model: keras.Model, history: History, published: Manifest | None, *, force: bool
) -> Judged:
    """Evaluate on the rows that were not fitted. Raises AcceptanceFailed if the gate does not open."""
    prepared = data.prepared.splits
    evaluations = {
        "test": _evaluate(spec, data, model, prepared.test, data.splits.test),
        "validation": _evaluate(spec, data, model, prepared.validation, data.splits.validation),
    }
    digest = dataset_facts(data.dataset, data.splits)["test_sha256"]
    names = [output.name for output in data.dataset.outputs]
    demanded = {name: goal.acceptance for name, goal in zip(names, spec.goals.values(), strict=True)}
    verdict = require_accepted(evaluations["test"], demanded, published, test_sha256=digest, force=force)
    return Judged(model=model, history=history, evaluations=evaluations, verdict=verdict)


def _evaluate(spec: TrainingSpec, data: Data, model: keras.Model, rows: Rows, raw: Rows) -> dict[str, Evaluation]:
    """Evaluate each output."""
    outputs = predict(model, rows.inputs, list(rows.targets))
    found = {}
    for goal in data.dataset.goals:
        name = goal.output.name
        found[name] = evaluate(
            goal.task, outputs[name], rows.targets[name], seed=spec.seed, labels=goal.labels, units=goal.units, inputs=raw.inputs
        )
    return found


def _told(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
