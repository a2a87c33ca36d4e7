from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from service.errors import ModelLoadError
from service.inference.providers import CPU
from service.inference.session import Session
from service.repository.datatypes import DATATYPES, Datatype, to_numpy
from service.repository.signature import TensorSpec

SessionOf = Callable[..., Session]


@pytest.mark.parametrize("datatype", [datatype for datatype in DATATYPES if datatype != "BF16"])
def test_every_datatype_is_mapped_and_runs(datatype: Datatype, graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.identity(datatype))
    array = np.array([["a", "b"]], dtype=object) if datatype == "BYTES" else np.array([[0, 1]], dtype=to_numpy(datatype))

    outputs = session.run([array])

    assert session.signature.inputs == (TensorSpec("x", datatype, (-1, 2)),)
    assert session.signature.outputs == (TensorSpec("y", datatype, (-1, 2)),)
    np.testing.assert_array_equal(outputs[0], array)
    assert outputs[0].dtype == array.dtype


def test_bfloat16_is_refused_in_words(graphs: Any, session_of: SessionOf) -> None:
    with pytest.raises(ModelLoadError, match=r"Tensor 'x' of .* has type tensor\(bfloat16\), which cannot be served"):
        session_of(graphs.identity("BF16"))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param(["n", 2], (-1, 2), id="named axis"),
        pytest.param([None, 2], (-1, 2), id="unnamed axis"),
        pytest.param([3, 2], (3, 2), id="fixed"),
        pytest.param(["n", "m", 1], (-1, -1, 1), id="two free axes"),
        pytest.param([], (), id="scalar"),
    ],
)
def test_free_axes_are_minus_one(shape: list[Any], expected: tuple[int, ...], graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.identity("FP32", shape))

    assert session.signature.inputs[0].shape == expected


def test_outputs_come_in_the_order_of_the_signature(graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.summed())
    a, b = np.array([[5, 6]], np.float32), np.array([[1, 2]], np.float32)

    total, difference = session.run([a, b])

    assert [spec.name for spec in session.signature.outputs] == ["sum", "difference"]
    assert total.tolist() == [[6, 8]]
    assert difference.tolist() == [[4, 4]]


def test_session_names_its_provider(graphs: Any, session_of: SessionOf) -> None:
    assert session_of(graphs.affine()).providers == (CPU,)


@pytest.mark.parametrize("content", [pytest.param(b"", id="empty"), pytest.param(b"no graph", id="rubbish")])
def test_damaged_graph_is_a_load_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelLoadError, match=r"onnxruntime cannot load .*model\.onnx: ") as caught:
        Session(path, threads=1, providers=[CPU])

    assert "\n" not in str(caught.value)


def test_cut_graph_is_a_load_error(graphs: Any, tmp_path: Path) -> None:
    content = graphs.affine().SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: len(content) // 2])

    with pytest.raises(ModelLoadError):
        Session(path, threads=1, providers=[CPU])


def test_tensor_type_without_a_name_in_the_protocol_is_a_load_error(tmp_path: Path) -> None:
    """A sequence is no tensor at all."""
    value = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["n"])
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [value],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString())

    with pytest.raises(ModelLoadError, match=r"Tensor 'y' of .* has type seq\(tensor\(float\)\), which cannot be served"):
        Session(path, threads=1, providers=[CPU])


def test_failed_run_gives_the_reason_in_one_line(graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.lookup())

    with pytest.raises(RuntimeError, match="out of data bounds") as caught:
        session.run([np.array([[99]])])

    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)
