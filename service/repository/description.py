"""What stands in a repository, as lines for a person."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from service.errors import PackageError
from service.repository.layout import ModelDirectory, find_models
from service.repository.maintenance import Version, find_version
from service.repository.manifest import Manifest
from service.repository.metrics import KEY_METRIC
from service.repository.signature import TensorSpec

_HEADING = ("MODEL", "VERSIONS", "SIZE", "CREATED", "TASK", "TEST METRIC")
_KILO = 1000


def listing(root: Path) -> Iterator[str]:
    """Yield a table of the models; size, date, task and metric are those of the newest version. Raises ConfigurationError."""
    models = find_models(root)
    if not models:
        yield f"There is no model in {root}."
        return
    yield from _table([_HEADING, *(_row(root, model) for model in models)])


def describe(version: Version) -> Iterator[str]:
    """Yield what the manifest of a version says, in sections."""
    manifest = version.manifest
    yield f"{version.reference}  {readable_size(version.size)}  {version.directory}"
    if manifest is None:
        yield "A bare graph: there is no manifest, so nothing is known of its origin."
        return
    if manifest.description:
        yield manifest.description
    yield ""
    yield from _table([(f"  {name}", text) for name, text in _summary(manifest) if text])
    for title, tensors in (("Inputs", manifest.signature.inputs), ("Outputs", manifest.signature.outputs)):
        yield from _section(title, [_tensor(tensor) for tensor in tensors])
    yield from _section(
        "Test metrics", [_metric(manifest, name, value) for name, value in manifest.metrics.get("test", {}).items()]
    )
    for title, facts in (("Dataset", manifest.dataset), ("Spec", manifest.spec), ("Tools", manifest.tools)):
        yield from _section(title, [(name, str(value)) for name, value in flattened(facts).items() if value is not None])
    yield from _section("Files", [(name, readable_size(file.size)) for name, file in manifest.files.items()])


def flattened(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, with dotted keys: `{"a": {"b": 1}}` is `{"a.b": 1}`, and a list of tables `a[0].b`."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                flat |= flattened(item, f"{prefix}{key}[{index}].")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def readable_size(size: float) -> str:
    """Say a number of bytes in kB, MB or GB, of 1000."""
    for unit in ("B", "kB", "MB"):
        if size < _KILO:
            return f"{size:.3g} {unit}"
        size /= _KILO
    return f"{size:.3g} GB"


def readable_date(created: str) -> str:
    """Say an ISO 8601 time for a person: `2026-11-22 22:40:22 UTC`."""
    return created.replace("T", " ").removesuffix("+00:00") + (" UTC" if created.endswith("+00:00") else "")


def _row(root: Path, model: ModelDirectory) -> Sequence[str]:
    if not model.versions:
        return (model.name, "none", "", "", "", "")
    numbers = ", ".join(str(number) for number in model.versions)
    try:
        newest = find_version(root, model.name)
    except PackageError:
        return (model.name, numbers, "", "", "damaged: see `axon models verify`", "")
    manifest = newest.manifest
    if manifest is None:
        return (model.name, numbers, readable_size(newest.size), "", "bare graph", "")
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in _key_metrics(manifest))
    return (model.name, numbers, readable_size(newest.size), readable_date(manifest.created), manifest.task, metrics)


def _key_metrics(manifest: Manifest) -> Iterator[tuple[str, float]]:
    """Yield the metric that stands for the model, or of several outputs one for each, which has the output's name behind a dot."""
    keys = {KEY_METRIC[task] for task in manifest.task.split(", ") if task in KEY_METRIC}
    wanted = {"", *(output.name for output in manifest.signature.outputs)}
    for name, value in manifest.metrics.get("test", {}).items():
        metric, _, output = name.partition(".")
        if metric in keys and output in wanted:
            yield name, value


def _summary(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "created", readable_date(manifest.created)
    if manifest.rolled_back:
        yield "rolled back", f"a copy of version {manifest.rolled_back['to']}, in place of {manifest.rolled_back['from']}"
    yield "task", manifest.task
    yield "seed", "" if manifest.seed is None else str(manifest.seed)
    yield "opset", "" if manifest.opset is None else str(manifest.opset)
    if manifest.parity is not None:
        yield "parity", f"ONNX within {manifest.parity.max_abs_error:.2g} of Keras (allowed {manifest.parity.tolerance:.2g})"
    if manifest.acceptance:
        yield "acceptance", "passed" if manifest.acceptance.get("passed") else "MISSED, published by force"


def _tensor(tensor: TensorSpec) -> tuple[str, ...]:
    named = tensor.labels or tensor.features
    names = ", ".join(named[:10]) + (" ..." if len(named) > 10 else "")  # noqa: PLR2004 -- a line's worth
    notes = [note for note in (names, tensor.unit and f"in {tensor.unit}", tensor.description) if note]
    return (tensor.name, tensor.datatype, str(list(tensor.shape)), "; ".join(notes))


def _metric(manifest: Manifest, name: str, value: float) -> tuple[str, ...]:
    interval = manifest.intervals.get(name)
    return (name, f"{value:.6g}", "" if interval is None else f"95% interval {interval[0]:.4g} to {interval[1]:.4g}")


def _section(title: str, rows: list[tuple[str, ...]]) -> Iterator[str]:
    if rows:
        yield ""
        yield title
        yield from _table([(f"  {row[0]}", *row[1:]) for row in rows])


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows of equal length with their columns aligned; the last column may be of any width."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
