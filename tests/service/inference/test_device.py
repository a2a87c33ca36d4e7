"""On the CPU, which is a device as well: what is copied and bound is the same. tests/gpu has the same facts on CUDA."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service.inference.device import DeviceRunner
from service.inference.provider_defaults import CPU

Runner = Callable[[Any], DeviceRunner]


@pytest.fixture
def runner_of(save: Callable[..., Path], tmp_path: Path) -> Runner:
    """Return a function that binds the tensors of a graph to the CPU."""

    def make(graph: Any) -> DeviceRunner:
        session = ort.InferenceSession(save(graph, tmp_path), providers=[CPU])
        return DeviceRunner(session, provider=CPU, device="cpu", number=0)

    return make


def test_bound_run_gives_what_a_plain_one_gives(graphs: Any, runner_of: Runner) -> None:
    runner = runner_of(graphs.affine())
    rows = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)

    np.testing.assert_allclose(runner.run(["y"], {"x": rows})[0], rows @ graphs.weights, rtol=1e-6)


def test_batches_of_changing_sizes_share_a_buffer(graphs: Any, runner_of: Runner) -> None:
    runner = runner_of(graphs.affine())
    generator = np.random.default_rng(2)

    for count in (1, 7, 2, 64, 3):
        rows = generator.normal(size=(count, 4)).astype(np.float32)
        np.testing.assert_allclose(runner.run(["y"], {"x": rows})[0], rows @ graphs.weights, rtol=1e-5, atol=1e-6)
    assert runner._buffers["x"].tensor_size_in_bytes() == 64 * 4 * 4


def test_answers_do_not_change_with_the_next_run(graphs: Any, runner_of: Runner) -> None:
    runner = runner_of(graphs.identity("FP32"))
    first = runner.run(["y"], {"x": np.ones((1, 2), np.float32)})[0]

    runner.run(["y"], {"x": np.zeros((1, 2), np.float32)})

    assert first.tolist() == [[1, 1]]


def test_views_that_are_not_contiguous_are_copied_as_they_are(graphs: Any, runner_of: Runner) -> None:
    rows = np.arange(16, dtype=np.float32).reshape(4, 4)[::2]

    np.testing.assert_allclose(runner_of(graphs.affine()).run(["y"], {"x": rows})[0], rows @ graphs.weights)


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT64", "FP16", "FP64"])
def test_any_number_type_is_bound(datatype: Any, graphs: Any, runner_of: Runner) -> None:
    dtype = {"BOOL": np.bool_, "UINT8": np.uint8, "INT64": np.int64, "FP16": np.float16, "FP64": np.float64}[datatype]
    rows = np.array([[0, 1], [1, 0]], dtype=dtype)

    output = runner_of(graphs.identity(datatype)).run(["y"], {"x": rows})[0]

    assert output.dtype == dtype
    np.testing.assert_array_equal(output, rows)


def test_several_inputs_and_outputs_keep_their_order(graphs: Any, runner_of: Runner) -> None:
    a, b = np.array([[5, 6]], np.float32), np.array([[1, 2]], np.float32)

    total, difference = runner_of(graphs.summed()).run(["sum", "difference"], {"a": a, "b": b})

    assert total.tolist() == [[6, 8]]
    assert difference.tolist() == [[4, 4]]


def test_failed_run_leaves_the_next_one_alone(graphs: Any, runner_of: Runner) -> None:
    runner = runner_of(graphs.lookup())

    with pytest.raises(Exception, match="out of data bounds"):
        runner.run(["y"], {"x": np.array([[99]])})

    assert runner.run(["y"], {"x": np.array([[2]])})[0].tolist() == [[20.0]]


def test_empty_batch_is_bound(graphs: Any, runner_of: Runner) -> None:
    assert runner_of(graphs.affine()).run(["y"], {"x": np.zeros((0, 4), np.float32)})[0].shape == (0, 3)


def test_cpu_has_no_page_locked_memory_of_its_own(graphs: Any, runner_of: Runner) -> None:
    assert not runner_of(graphs.affine()).pinned
