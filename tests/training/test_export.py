from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.repository.signature import Signature, TensorSpec
from training.errors import ExportFailed, ParityFailed

keras = pytest.importorskip("keras", reason="needs the train extra")
onnx = pytest.importorskip("onnx", reason="needs the train extra")
tf = pytest.importorskip("tensorflow", reason="needs the train extra")
exporter = pytest.importorskip("training.export.exporter")
exporting = pytest.importorskip("training.export")
parity = pytest.importorskip("training.parity")

pytestmark = pytest.mark.training

TOLERANCE = 1e-5
L = keras.layers


def signature(shape: tuple[int, ...] = (4, 3), size: tuple[int, ...] = (5,)) -> Signature:
    return Signature(
        inputs=(TensorSpec(name="values", datatype="FP32", shape=(-1, *shape)),),
        outputs=(TensorSpec(name="result", datatype="FP32", shape=(-1, *size)),),
    )


def rows(shape: tuple[int, ...] = (4, 3)) -> dict[str, np.ndarray[Any, Any]]:
    return {"values": np.random.default_rng(5).uniform(-3, 5, (24, *shape)).astype(np.float32)}


def small_model(units: int = 5) -> Any:
    inputs = keras.Input((4, 3), name="values")
    return keras.Model(inputs, L.Dense(units, name="result")(L.Flatten()(inputs)))


def large_model() -> Any:
    """Every kind of layer whose weights are left out of the conversion, in one network of 1.4 million parameters."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((4, 3), name="values")
    ids = keras.ops.cast(keras.ops.clip(keras.ops.abs(inputs[:, :, 0]), 0, 9), "int32")
    tokens = L.Embedding(400, 64)(ids)
    tokens = L.MultiHeadAttention(4, 64)(tokens, tokens)
    picture = L.Conv2D(64, 1)(L.Reshape((2, 2, 3))(inputs))
    for layer in (
        L.Conv2D(256, 3, padding="same"),
        L.DepthwiseConv2D(3, padding="same"),
        L.SeparableConv2D(300, 3, padding="same"),
    ):
        picture = L.BatchNormalization()(layer(picture))
    series = L.LSTM(96)(L.Conv1D(256, 3, padding="same")(tokens))
    joined = L.Concatenate()([L.Flatten()(tokens), L.GlobalAveragePooling2D()(picture), series])
    return keras.Model(inputs, L.Dense(5, name="result")(L.Dense(1000, activation="relu")(joined)))


def certificate(model: Any, graph: Path, shape: tuple[int, ...] = (4, 3), size: tuple[int, ...] = (5,)) -> Any:
    reference = exporting.program_of(model, signature(shape, size)).run
    return parity.prove_parity(reference, graph, signature(shape, size), rows(shape), tolerance=TOLERANCE)


def test_graph_has_the_declared_names_a_dynamic_batch_and_the_opset(tmp_path: Path) -> None:
    exporting.export(small_model(), signature(), tmp_path / "model.onnx", opset=17)

    graph = onnx.load(tmp_path / "model.onnx")

    tensors = {tensor.name: tensor.type.tensor_type.shape.dim for tensor in (*graph.graph.input, *graph.graph.output)}
    assert list(tensors) == ["values", "result"]
    assert {axes[0].dim_param for axes in tensors.values()} == {"batch"}
    assert {entry.domain: entry.version for entry in graph.opset_import}[""] == 17


def test_certificate_tells_rows_and_batch_invariance(tmp_path: Path) -> None:
    model = small_model()
    exporting.export(model, signature(), tmp_path / "model.onnx", opset=18)

    proof = certificate(model, tmp_path / "model.onnx")

    assert proof.batch_sizes == (1, 2, 7, 64)
    assert proof.rows == 4 + 24 + 2
    assert 0 <= proof.batch_invariance <= TOLERANCE


@pytest.mark.parametrize("apart_from", [0, 10**9], ids=["in a process of its own", "in this process"])
def test_large_weights_are_left_out_of_the_conversion_and_put_back(apart_from: int, tmp_path: Path) -> None:
    model = large_model()
    program = exporting.program_of(model, signature())

    exporting.export_program(program, tmp_path / "model.onnx", opset=18, apart_from=apart_from)

    assert certificate(model, tmp_path / "model.onnx").max_abs_error <= TOLERANCE
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [tensor.name for tensor in graph.input] == ["values"]
    assert "LSTM" in {node.op_type for node in graph.node}


def test_weights_above_the_threshold_stand_beside_the_graph(tmp_path: Path) -> None:
    model = large_model()
    graph = tmp_path / "model.onnx"

    exporting.export_program(exporting.program_of(model, signature()), graph, opset=18, external_from=1_000_000)

    assert exporter.graph_files(graph) == [graph, tmp_path / "model.onnx.data"]
    assert graph.stat().st_size < 1_000_000 < (tmp_path / "model.onnx.data").stat().st_size
    assert certificate(model, graph).max_abs_error <= TOLERANCE


def test_conversion_that_takes_too_much_memory_is_ended_with_the_remedy(tmp_path: Path) -> None:
    program = exporting.program_of(small_model(), signature())

    with pytest.raises(ExportFailed, match=r"more than 50 MB of memory, the limit. Raise memory_limit_mb under \[export\]"):
        exporting.export_program(program, tmp_path / "model.onnx", opset=18, memory_limit_mb=50, apart_from=0)


def test_process_of_the_conversion_hands_its_refusal_on(tmp_path: Path) -> None:
    inputs = keras.Input((4, 3), name="values")
    model = keras.Model(inputs, keras.ops.cast(keras.ops.argmax(inputs, axis=-1), "float32"))

    with pytest.raises(ExportFailed, match="Bitcast"):
        exporting.export_program(exporting.program_of(model, signature(size=(4,))), tmp_path / "model.onnx", opset=18, apart_from=0)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_exported_in_float32_and_left_as_it_was(policy: str, tmp_path: Path) -> None:
    inputs = keras.Input((4, 3), name="values")
    hidden = L.Dense(64, dtype=policy)(L.Flatten(dtype=policy)(inputs))
    model = keras.Model(inputs, L.Dense(5, dtype=policy)(hidden))

    exporting.export(model, signature(), tmp_path / "model.onnx", opset=18)

    assert certificate(model, tmp_path / "model.onnx").max_abs_error <= TOLERANCE
    assert {layer.dtype_policy.name for layer in model.layers[1:]} == {policy}


def test_silently_wrong_graph_is_caught_by_parity(tmp_path: Path) -> None:
    """Area resizing converts without a complaint, into another computation; hidden in a layer, only parity can see it."""

    class Hidden(L.Layer):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            return tf.image.resize(inputs, (4, 4), method="area")

    inputs = keras.Input((9, 9, 1), name="values")
    model = keras.Model(inputs, Hidden()(inputs))
    exporting.export(model, signature((9, 9, 1), (4, 4, 1)), tmp_path / "model.onnx", opset=18)

    with pytest.raises(ParityFailed, match=r"Output 'result' of the ONNX graph differs from Keras by .* expected at most 1e-05"):
        certificate(model, tmp_path / "model.onnx", (9, 9, 1), (4, 4, 1))


def test_graph_that_is_not_the_declared_one_is_refused_and_removed(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match=r"has the outputs result FP32 \['batch', 5\]; expected result FP32 \['batch', 6\]"):
        exporting.export(small_model(), signature(size=(6,)), tmp_path / "model.onnx", opset=18)
    assert list(tmp_path.iterdir()) == []


def test_missing_output_is_refused_by_name() -> None:
    wide = Signature(signature().inputs, (*signature().outputs, TensorSpec(name="more", datatype="FP32", shape=(-1, 2))))

    with pytest.raises(ExportFailed, match="the model has the outputs result; expected result, more"):
        exporting.export(small_model(), wide, Path("/nonexistent/model.onnx"), opset=18)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([[1.0, 2.0]], [[1.0, 2.5]], 0.2),
        ([[0.1, 0.2]], [[0.1, 0.3]], 0.1),
        ([[100.0], [0.0]], [[101.0], [0.0]], 1 / 101),
        ([[np.nan]], [[1.0]], np.inf),
        ([[5.0]], [[np.nan]], 0.0),
        ([[5.0]], [[np.inf]], 0.0),
        ([[1.0, 2.0]], [[1.0]], np.inf),
    ],
    ids=["relative above 1", "absolute below 1", "by row", "no number of ours", "no number of theirs", "overflow", "other shape"],
)
def test_difference_is_relative_above_one_and_absolute_below(ours: Any, theirs: Any, expected: float) -> None:
    assert parity.difference(np.array(ours), np.array(theirs)) == pytest.approx(expected)
