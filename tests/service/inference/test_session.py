from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from service.errors import ModelLoadError
from service.inference.providers import CPU
from service.inference.session import Session
from service.repository.datatypes import DATATYPES, Datatype, to_numpy
from service.repository.runtime_configuration import SessionTuning
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


def typed_graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any] | None = None) -> Any:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants or [])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def test_graph_without_any_tensor_to_give_is_a_load_error(session_of: SessionOf) -> None:
    """A sequence is no tensor at all."""
    graph = typed_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["n"])],
    )

    with pytest.raises(ModelLoadError, match=r"No output of .* is a tensor: 'y' \(seq\(tensor\(float\)\)\)"):
        session_of(graph)


def test_classifier_of_scikit_learn_is_served_without_its_list_of_maps(
    session_of: SessionOf, caplog: pytest.LogCaptureFixture
) -> None:
    """As skl2onnx writes it unless told otherwise: a tensor of labels, and a map of probabilities for each row."""
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    zipped = helper.make_node("ZipMap", ["x"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    graph = typed_graph(
        [helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0), zipped],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]), helper.make_value_info("probabilities", maps)],
    )

    session = session_of(graph)

    assert [spec.name for spec in session.signature.outputs] == ["label"]
    assert [array.tolist() for array in session.run([np.array([[0.2, 0.8], [0.9, 0.1]], np.float32)])] == [[1, 0]]
    assert "is served without 'probabilities' (seq(map(int64,tensor(float))))" in caplog.text
    assert "{'zipmap': False}" in caplog.text


def test_type_without_a_name_in_the_protocol_is_a_load_error(session_of: SessionOf) -> None:
    tensors = [helper.make_tensor_value_info(name, TensorProto.BFLOAT16, ["n"]) for name in ("x", "y")]
    graph = typed_graph([helper.make_node("Identity", ["x"], ["y"])], tensors[:1], tensors[1:])

    with pytest.raises(ModelLoadError, match=r"Tensor 'x' of .* has type tensor\(bfloat16\), which cannot be served; served are"):
        session_of(graph)


def test_sequence_as_an_input_is_a_load_error(session_of: SessionOf) -> None:
    graph = typed_graph(
        [helper.make_node("SequenceLength", ["x"], ["y"])],
        [helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [])],
    )

    with pytest.raises(ModelLoadError, match=r"Tensor 'x' of .* has type seq\(tensor\(float\)\), which cannot be served"):
        session_of(graph)


def test_optional_input_is_left_out_and_absent(session_of: SessionOf, caplog: pytest.LogCaptureFixture) -> None:
    absent = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"]))
    graph = typed_graph(
        [helper.make_node("OptionalHasElement", ["mask"], ["has"]), helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]), helper.make_value_info("mask", absent)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"]), helper.make_tensor_value_info("has", TensorProto.BOOL, [])],
    )

    session = session_of(graph)

    assert [spec.name for spec in session.signature.inputs] == ["x"]
    assert "is served without 'mask' (optional(tensor(float)))" in caplog.text


def test_constant_that_is_also_an_input_keeps_its_value(session_of: SessionOf) -> None:
    """Older exporters list all weights as inputs."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "w", "y")]
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1], [3.0])
    graph = typed_graph([helper.make_node("Mul", ["x", "w"], ["y"])], tensors[:2], tensors[2:], [weights])

    session = session_of(graph)

    assert [spec.name for spec in session.signature.inputs] == ["x"]
    assert session.run([np.array([2], np.float32)])[0].tolist() == [6]


def test_scalar_is_served(graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.identity("FP32", []))

    assert session.run([np.array(7, np.float32)])[0].tolist() == 7


def test_tensor_of_unknown_rank_is_served_in_any_shape(session_of: SessionOf) -> None:
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    session = session_of(typed_graph([helper.make_node("Neg", ["x"], ["y"])], tensors[:1], tensors[1:]))

    assert session.signature.inputs == (TensorSpec("x", "FP32", ()),)
    assert session.signature.inputs[0].accepts((2, 1))
    assert session.run([np.array([[1], [2]], np.float32)])[0].tolist() == [[-1], [-2]]


def test_nodes_are_counted_by_provider(graphs: Any, session_of: SessionOf) -> None:
    assert session_of(graphs.summed()).nodes == {CPU: 2}


@pytest.mark.parametrize(
    "tuning",
    [
        pytest.param(SessionTuning(graph_optimization="none"), id="graph as it is"),
        pytest.param(SessionTuning(memory_arena=False), id="no arena"),
        pytest.param(SessionTuning(arena_shrinkage=True), id="arena that shrinks"),
    ],
)
def test_tuning_does_not_change_answers(tuning: SessionTuning, graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    session = Session(save(graphs.affine(), tmp_path), threads=1, providers=[CPU], tuning=tuning)
    row = np.array([[1, 2, 3, 4]], np.float32)

    np.testing.assert_allclose(session.run([row])[0], row @ graphs.weights)


def test_graph_is_not_optimised_if_that_is_switched_off(graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    path = save(
        graphs.build(
            [
                helper.make_node("Neg", ["x"], ["a"]),
                helper.make_node("Neg", ["a"], ["b"]),
                helper.make_node("Identity", ["b"], ["y"]),
            ],
            {"x": ("FP32", ["n"])},
            {"y": ("FP32", ["n"])},
        ),
        tmp_path,
    )

    plain = Session(path, threads=1, providers=[CPU], tuning=SessionTuning(graph_optimization="none"))

    assert sum(plain.nodes.values()) == 3
    assert sum(Session(path, threads=1, providers=[CPU]).nodes.values()) < 3


def test_optimised_graph_is_written_and_gives_the_same(graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    written = tmp_path / "optimised.onnx"
    Session(save(graphs.affine(), tmp_path), threads=1, providers=[CPU], optimized_path=written)
    row = np.array([[1, 2, 3, 4]], np.float32)

    outputs = Session(written, threads=1, providers=[CPU], tuning=SessionTuning(graph_optimization="none")).run([row])

    np.testing.assert_allclose(outputs[0], row @ graphs.weights)


def test_failed_run_gives_the_reason_in_one_line(graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.lookup())

    with pytest.raises(RuntimeError, match="out of data bounds") as caught:
        session.run([np.array([[99]])])

    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_runs_at_once_do_not_mix(graphs: Any, session_of: SessionOf) -> None:
    """What several instances on the CPU rely on: they share a session."""
    session = session_of(graphs.affine())
    batches = [np.random.default_rng(seed).normal(size=(16, 4)).astype(np.float32) for seed in range(64)]

    with ThreadPoolExecutor(4) as threads:
        outputs = list(threads.map(lambda batch: session.run([batch])[0], batches))

    for batch, output in zip(batches, outputs, strict=True):
        np.testing.assert_allclose(output, batch @ graphs.weights, rtol=1e-5, atol=1e-6)
    assert session.concurrent
