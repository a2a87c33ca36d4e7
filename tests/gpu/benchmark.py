"""A ResNet-50-shaped network on one device: Axon against onnxruntime alone, in turns, by batch size and precision.

    python tests/gpu/benchmark.py [--provider CUDAExecutionProvider] [--seconds 1] [--output figures.md]

`onnxruntime` is a loop of `session.run` on arrays, with the same provider options. `session` is that loop over Axon's session,
which binds its tensors. `served` sends requests of that many rows through validation and batcher, two instances, sixteen requests
at a time. Figures are rows a second, the median of five turns, and in brackets the share of onnxruntime alone.
"""

import argparse
import asyncio
import importlib.util
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from service.inference.loading import Loader
from service.inference.provider_defaults import CPU, with_defaults
from service.inference.served_model import LoadedModel, ServedModel
from service.repository.configuration import Batching, ModelConfiguration
from service.repository.layout import ModelDirectory, find_models
from service.repository.runtime_configuration import Provider

Array = np.ndarray[Any, Any]
BATCHES = (1, 2, 4, 8, 16, 32, 64)
_TURNS = 5
_CALLERS = 16
_GRAPHS = Path(__file__).parents[1] / "benchmarks" / "runtime" / "graphs.py"


class Silent:
    """An observer that keeps nothing."""

    def __getattr__(self, _name: str) -> Any:
        """Take any report."""
        return lambda *_arguments, **_facts: None


def resnet50(dtype: type[np.floating[Any]]) -> onnx.ModelProto:
    """Build the network that the other benchmarks use, too."""
    specification = importlib.util.spec_from_file_location("graphs", _GRAPHS)
    if specification is None or specification.loader is None:
        raise FileNotFoundError(_GRAPHS)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    model: onnx.ModelProto = module.resnet50(dtype)
    return model


def rate(run: Callable[[], object], rows: int, seconds: float) -> float:
    """Return rows a second of a loop."""
    count = 0
    started_at = perf_counter()
    while (passed := perf_counter() - started_at) < seconds or not count:
        run()
        count += 1
    return count * rows / passed


async def served_rate(served: ServedModel, batch: Array, seconds: float) -> float:
    """Return rows a second of sixteen callers, each of which sends its next request when it has the answer."""
    count = 0
    started_at = perf_counter()

    async def call() -> None:
        nonlocal count
        while perf_counter() - started_at < seconds:
            await served.infer({"x": batch})
            count += 1

    await asyncio.gather(*(call() for _ in range(_CALLERS)))
    return count * len(batch) / (perf_counter() - started_at)


def plain_session(graph: Path, provider: str) -> ort.InferenceSession:
    """Open the graph as onnxruntime alone does, on the same options."""
    options = with_defaults(Provider(name=provider), cache_directory=None, threads=1)
    return ort.InferenceSession(graph, providers=[(provider, options), *([CPU] if provider != CPU else [])])


async def compare(model: ModelDirectory, dtype: type[np.floating[Any]], provider: str, seconds: float) -> list[str]:
    """Return a line of the table for each batch size."""
    batching = Batching(max_batch_size=BATCHES[-1])
    loaded: LoadedModel = Loader(provider=provider).load(model, 1, ModelConfiguration(instances=2, batching=batching))
    plain = plain_session(model.versions[1] / "model.onnx", provider)
    served = ServedModel(loaded, Silent())
    lines = []
    for rows in BATCHES:
        batch = np.random.default_rng(rows).random((rows, 3, 224, 224)).astype(dtype)
        figures: dict[str, list[float]] = {"onnxruntime": [], "session": [], "served": []}
        for _ in range(_TURNS):
            figures["onnxruntime"].append(rate(lambda x=batch: plain.run(["y"], {"x": x}), rows, seconds))
            figures["session"].append(rate(lambda x=batch: loaded.session.run([x]), rows, seconds))
            figures["served"].append(await served_rate(served, batch, seconds))
        alone, bound, whole = (statistics.median(values) for values in figures.values())
        shares = f"{bound:.0f} ({bound / alone:.2f}) | {whole:.0f} ({whole / alone:.2f})"
        lines.append(f"| {np.dtype(dtype).name} | {rows} | {alone:.0f} | {shares} |")
        sys.stderr.write(lines[-1] + "\n")
    await served.close()
    return lines


def main() -> None:
    """Measure both precisions and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", default="CUDAExecutionProvider")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = ["| precision | rows | onnxruntime rows/s | session | served |", "| --- | --- | --- | --- | --- |"]
    for dtype in (np.float32, np.float16):
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / "resnet50" / "1").mkdir(parents=True)
            onnx.save(resnet50(dtype), Path(scratch) / "resnet50" / "1" / "model.onnx")
            lines += asyncio.run(compare(find_models(Path(scratch))[0], dtype, options.provider, options.seconds))
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
