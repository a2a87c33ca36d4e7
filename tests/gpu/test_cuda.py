"""What holds on a CUDA device only: nothing here passes by way of the CPU."""

import asyncio
import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from service.errors import ConfigurationError, ModelLoadError
from service.inference.loading import Loader
from service.inference.provider_defaults import CPU, CUDA, TENSORRT
from service.inference.providers import automatic
from service.inference.served_model import LoadedModel, ServedModel
from service.inference.session import Session
from service.repository.configuration import Batching, ModelConfiguration
from service.repository.layout import find_models
from service.repository.runtime_configuration import Provider

Array = np.ndarray[Any, Any]
TOLERANCE = 1e-3


def load(repository: Path, **configuration: Any) -> LoadedModel:
    configuration.setdefault("providers", (CUDA,))
    return Loader(provider="auto").load(find_models(repository)[0], 1, ModelConfiguration(**configuration))


def on_the_cpu(repository: Path, pictures: Array) -> Array:
    session = ort.InferenceSession(repository / "cnn" / "1" / "model.onnx", providers=[CPU])
    outputs: list[Array] = session.run(["y"], {"x": pictures})
    return outputs[0]


def test_auto_is_cuda() -> None:
    assert automatic() == CUDA


def test_version_loads_on_cuda_and_its_samples_replay(repository: Path) -> None:
    """`load` compares the samples with what the CPU gave; a difference would raise PackageError."""
    model = load(repository)

    assert model.manifest is not None
    assert model.session.providers[0] == CUDA
    assert model.problems == ()


def test_every_node_is_placed_on_cuda(repository: Path) -> None:
    assert set(load(repository).session.nodes) == {CUDA}


def test_options_reach_the_provider(repository: Path) -> None:
    limit = 2**31
    model = load(repository, providers=(Provider(name=CUDA, options={"gpu_mem_limit": limit}),))

    options = model.session._session.get_provider_options()[CUDA]

    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert options["gpu_mem_limit"] == str(limit)


def test_unknown_option_of_the_provider_is_named(repository: Path) -> None:
    with pytest.raises(ModelLoadError, match="nonsense"):
        load(repository, providers=(Provider(name=CUDA, options={"nonsense": 1}),))


def test_bound_runs_give_what_plain_ones_give(repository: Path, pictures: Array) -> None:
    session = load(repository).session
    plain = ort.InferenceSession(repository / "cnn" / "1" / "model.onnx", providers=[CUDA, CPU])

    for rows in (1, 32, 3, 17):
        expected = plain.run(["y"], {"x": pictures[:rows]})[0]
        np.testing.assert_allclose(session.run([pictures[:rows]])[0], expected, rtol=1e-4, atol=1e-5)


def test_inputs_are_copied_from_page_locked_memory(repository: Path) -> None:
    runner = load(repository).session._run.__self__

    assert runner.pinned


def test_answers_on_cuda_are_those_of_the_cpu(repository: Path, pictures: Array) -> None:
    outputs = load(repository).session.run([pictures])

    np.testing.assert_allclose(outputs[0], on_the_cpu(repository, pictures), rtol=TOLERANCE, atol=TOLERANCE)


def test_instances_run_beside_each_other_on_streams_of_their_own(repository: Path, pictures: Array) -> None:
    model = load(repository, instances=3)
    expected = on_the_cpu(repository, pictures)

    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda run: [run([pictures])[0] for _ in range(20)], model.runs))

    assert len({id(session) for session in model.sessions}) == 3
    for output in (each for several in answers for each in several):
        np.testing.assert_allclose(output, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_graph_that_cuda_cannot_take_is_an_error_and_no_fallback(tmp_path: Path) -> None:
    """There is no kernel for text on CUDA."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.STRING, ["n"]) for name in ("x", "y")]
    node = helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER")
    graph = helper.make_graph([node], "text", tensors[:1], tensors[1:])
    (tmp_path / "text" / "1").mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "text" / "1" / "model.onnx"
    )

    with pytest.raises(ConfigurationError, match=f"{CUDA} was asked for, but took none of the 1 nodes"):
        load(tmp_path)


def test_device_that_is_not_there_is_an_error_under_require(repository: Path) -> None:
    with pytest.raises((ModelLoadError, ConfigurationError)):
        load(repository, providers=(Provider(name=CUDA, options={"device_id": 99}),))


def test_device_that_is_not_there_is_done_without_under_prefer(repository: Path, pictures: Array) -> None:
    model = load(repository, providers=(Provider(name=CUDA, options={"device_id": 99}),), provider_policy="prefer")

    assert model.problems
    assert model.session.nodes.keys() == {CPU}
    np.testing.assert_allclose(model.session.run([pictures])[0], on_the_cpu(repository, pictures), rtol=1e-5, atol=1e-6)


def test_half_precision_is_served(tmp_path: Path, networks: Any) -> None:
    onnx.save(networks.resnet50(np.float16), tmp_path / "model.onnx")
    session = Session(tmp_path / "model.onnx", threads=1, providers=[CUDA, CPU])

    output = session.run([np.zeros((2, 3, 224, 224), np.float16)])[0]

    assert output.dtype == np.float16
    np.testing.assert_allclose(output.sum(axis=1), 1, atol=1e-2)
    assert set(session.nodes) == {CUDA}


class Silent:
    """An observer that keeps nothing."""

    def __getattr__(self, _name: str) -> Any:
        """Take any report."""
        return lambda *_arguments, **_facts: None


def test_requests_at_once_are_batched_on_cuda(repository: Path, pictures: Array) -> None:
    async def answers() -> Sequence[Mapping[str, Array]]:
        served = ServedModel(load(repository, instances=2), Silent())
        try:
            found = await asyncio.gather(*(served.infer({"x": picture[np.newaxis]}) for picture in pictures))
        finally:
            await served.close()
        return [{spec.name: array for spec, array in answer.outputs} for answer in found]

    expected = on_the_cpu(repository, pictures)

    for answer, row in zip(asyncio.run(answers()), expected, strict=True):
        np.testing.assert_allclose(answer["y"][0], row, rtol=TOLERANCE, atol=TOLERANCE)


def _tensorrt_is_installed() -> bool:
    try:
        ctypes.CDLL("libnvinfer.so.10")
    except OSError:
        return False
    return TENSORRT in ort.get_available_providers()


@pytest.mark.skipif(not _tensorrt_is_installed(), reason="the libraries of TensorRT 10 are not installed")
def test_tensorrt_runs_allowed_sizes_and_keeps_its_engine(repository: Path, tmp_path: Path, pictures: Array) -> None:
    configuration = ModelConfiguration(providers=(TENSORRT, CUDA), batching=Batching(batch_sizes=(1, 8, 32)))
    loader = Loader(provider="auto", cache_directory=tmp_path / "cache")

    model = loader.load(find_models(repository)[0], 1, configuration)

    assert TENSORRT in model.session.nodes
    np.testing.assert_allclose(model.session.run([pictures])[0], on_the_cpu(repository, pictures), rtol=TOLERANCE, atol=TOLERANCE)
    assert list((tmp_path / "cache" / TENSORRT).glob("*.engine"))
