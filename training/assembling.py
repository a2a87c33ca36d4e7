"""Everything that a package is made of, put together: profiles, samples, timing and the report beside the proven graph."""

from datetime import UTC, datetime

import msgspec

from service.repository.baseline import Baseline, profile
from training.datasets.dataset import Tensors
from training.evaluation import predict
from training.packaging import SAMPLE_ROWS, Package, dataset_facts, tool_versions
from training.proving import Proven
from training.report import Answer, ReportFacts, describe_layers
from training.run import Data, Judged, Run
from training.spec import TrainingSpec
from training.timing import Stopwatch, measure_latency


def assemble(spec: TrainingSpec, data: Data, judged: Judged, proven: Proven, run: Run, watch: Stopwatch) -> Package:
    """Return the package of a model that has passed both gates."""
    with watch.step("profile the training rows"):
        baseline = _baseline(data, judged)
    with watch.step("time the graph"):
        latency = measure_latency(proven.graphs[0], data.prepared.served, data.splits.test.inputs)
    names = [output.name for output in data.dataset.outputs]
    outputs = predict(judged.model, data.prepared.splits.test.inputs, names)
    report = _report(spec, data, judged, proven, outputs, baseline)
    return Package(
        spec=spec,
        dataset=data.dataset,
        splits=data.splits,
        signature=data.prepared.served,
        graphs=proven.graphs,
        parity=proven.parity,
        evaluations=judged.evaluations,
        verdict=judged.verdict,
        baseline=baseline,
        sample_outputs={name: array[:SAMPLE_ROWS] for name, array in outputs.items()},
        report=msgspec.structs.replace(
            report, command=run.command, spec_text=run.spec_text or report.spec_text, seconds=watch.seconds, latency=latency
        ),
        pictures=run.pictures,
    )


def _baseline(data: Data, judged: Judged) -> Baseline:
    """Profile the raw columns of the training rows, and the predictions for them."""
    served, rows = data.prepared.served, data.splits.train
    predictions = predict(judged.model, data.prepared.splits.train.inputs, [output.name for output in served.outputs])
    return profile({tensor.name: rows.inputs[tensor.name] for tensor in served.inputs}, predictions)


def _report(spec: TrainingSpec, data: Data, judged: Judged, proven: Proven, outputs: Tensors, baseline: Baseline) -> ReportFacts:
    """Tell what the report says of the model; `outputs` are those of the test rows."""
    targets = data.prepared.splits.test.targets
    return ReportFacts(
        name=spec.name,
        description=spec.description,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command="",
        spec_text=msgspec.json.format(msgspec.json.encode(spec)).decode(),
        seed=spec.seed,
        opset=spec.export.opset,
        dataset=dataset_facts(data.dataset, data.splits),
        tools=tool_versions(),
        signature=data.prepared.served,
        layers=describe_layers(judged.model),
        parameters=judged.model.count_params(),
        history=judged.history,
        answers=tuple(
            Answer(name, evaluation, outputs[name], targets[name]) for name, evaluation in judged.evaluations["test"].items()
        ),
        verdict=judged.verdict,
        baseline=baseline,
        graph_bytes=sum(graph.stat().st_size for graph in proven.graphs),
        parity=proven.parity,
        preprocessing=data.prepared.description,
    )
