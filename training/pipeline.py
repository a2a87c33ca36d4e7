"""The recipe: spec -> dataset -> model -> fit -> evaluate (gate) -> export -> parity (gate) -> package -> publish."""

from pathlib import Path
from tempfile import TemporaryDirectory

from service.repository.layout import GRAPH_NAME
from service.repository.manifest import Manifest
from training.architectures import build_model, signature_of
from training.baseline import profile
from training.datasets import load_dataset, split
from training.evaluation import evaluate, predict, require_accepted
from training.export import export
from training.fitting import fit, fix_randomness
from training.packaging import SAMPLE_ROWS, Package, publish_package
from training.parity import prove_parity
from training.progress import Display
from training.spec import TrainingSpec
from training.stopping import StopCheck, never


def train(spec: TrainingSpec, repository: Path, display: Display, *, stop: StopCheck = never) -> Manifest:
    """Train the model of `spec` and publish it as its next version in `repository`.

    Raises a TrainingError, with nothing published, if any step or gate fails; and whatever `stop` raises.
    """
    dataset = load_dataset(spec.dataset.name)
    splits = split(dataset, spec.dataset, seed=spec.seed)
    signature = signature_of(dataset)
    display.step(f"Dataset {dataset.name}: " + ", ".join(f"{rows} {name}" for name, rows in splits.sizes.items()) + " rows")

    fix_randomness(spec.seed)
    model = build_model(spec.architecture, signature)
    display.step(f"Fitting {model.count_params():,} parameters for at most {spec.epochs} epochs")
    epochs = fit(model, splits, spec, display, stop)

    metrics = {"test": evaluate(model, splits.test), "validation": evaluate(model, splits.validation)}
    display.step(f"Ran {epochs} epochs; test " + ", ".join(f"{k} {v:.4f}" for k, v in metrics["test"].items()))
    require_accepted(metrics["test"], spec.acceptance)

    with TemporaryDirectory(prefix="axon-export-") as scratch:
        graph = Path(scratch) / GRAPH_NAME
        export(model, signature, graph, opset=spec.export.opset)
        parity = prove_parity(model, graph, signature, splits.test, tolerance=spec.export.parity_tolerance)
        display.step(f"ONNX opset {spec.export.opset} agrees with Keras within {parity.max_abs_error:.1e}")

        (output,) = signature.outputs
        package = Package(
            spec=spec,
            dataset=dataset,
            splits=splits,
            signature=signature,
            graph=graph,
            parity=parity,
            metrics=metrics,
            baseline=profile(splits.train.inputs, {output.name: predict(model, splits.train.inputs)}),
            sample_outputs=predict(model, splits.test.inputs)[:SAMPLE_ROWS],
        )
        stop()
        return publish_package(package, repository)
