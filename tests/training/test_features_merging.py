"""The served graph: features in front of a network, in one file."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.errors import ExportFailed, FeatureError
from training.features import Features, fit_features
from training.spec.features import (
    BucketizedSpec,
    CategoricalSpec,
    DateSpec,
    FeatureSpec,
    HashedSpec,
    IgnoredSpec,
    ImageSpec,
    NumericSpec,
    TextSpec,
)

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(11)
SPECS: dict[str, FeatureSpec] = {
    "fare": NumericSpec(log1p=True, clip_quantiles=(0.01, 0.99)),
    "height": BucketizedSpec(quantiles=4),
    "town": CategoricalSpec(min_count=2, oov_buckets=3, lowercase=True, encoding="embedding", dimension=2),
    "zip": HashedSpec(buckets=16, encoding="one_hot"),
    "born": DateSpec(parts=("year", "month", "weekday", "elapsed")),
    "seen": DateSpec(),
    "note": TextSpec(min_count=1),
    "tokens": TextSpec(encoding="ids", length=3, min_count=1),
    "photo": ImageSpec(crop=(4, 4), resize=(6, 6)),
    "row": IgnoredSpec(),
}


def strings(choices: list[str], rows: int) -> Array:
    return RNG.choice(np.array(choices, dtype=object), rows)


def table(rows: int) -> dict[str, Array]:
    """Make a column of every kind; `age`, `sex`, `class` and `ids` get the defaults."""
    gaps = RNG.random(rows) < 0.2
    return {
        "age": np.where(gaps, np.nan, RNG.normal(30, 12, rows)).astype(np.float32),
        "fare": RNG.lognormal(2, 1, rows).astype(np.float32),
        "height": np.where(gaps, np.nan, RNG.normal(170, 12, rows)).astype(np.float32),
        "sex": strings(["male", "female", ""], rows),
        "class": RNG.integers(1, 4, rows),
        "town": strings(["Wien", "wien", "Graz", "Linz"], rows),
        "zip": RNG.integers(-(2**62), 2**62, rows),
        "born": strings(["2013-01-31", "1999-12-31T23:59:59Z", ""], rows),
        "seen": RNG.integers(0, 2**31, rows),
        "note": strings(["Good food", "", "bad FOOD, bad service"], rows),
        "tokens": strings(["a b c d", "b", ""], rows),
        "photo": RNG.integers(0, 256, (rows, 5, 4, 3)).astype(np.uint8),
        "ids": RNG.integers(0, 9, (rows, 4)),
        "row": np.arange(rows),
    }


def network(features: Features, *, opset: int = 18, ml_opset: int = 2, output: str = "scores") -> onnx.ModelProto:
    """Build what tf2onnx would give: every input flattened, multiplied with weights and summed, in IR version 8."""
    nodes, weights, parts = [], [], []
    for index, spec in enumerate(features.outputs):
        width = int(np.prod(spec.shape[1:], dtype=int))
        weights.append(numpy_helper.from_array(RNG.normal(size=(width, 3)).astype(np.float32), f"w{index}"))
        nodes.append(helper.make_node("Cast", [spec.name], [f"cast{index}"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Reshape", [f"cast{index}", f"shape{index}"], [f"flat{index}"]))
        weights.append(numpy_helper.from_array(np.array([-1, width]), f"shape{index}"))
        nodes.append(helper.make_node("MatMul", [f"flat{index}", f"w{index}"], [f"part{index}"]))
        parts.append(f"part{index}")
    nodes += [helper.make_node("Sum", parts, ["sum"]), helper.make_node("Softmax", ["sum"], [output], axis=-1)]
    types = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}
    inputs = [helper.make_tensor_value_info(s.name, types[s.datatype], ["batch", *s.shape[1:]]) for s in features.outputs]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 3])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml_opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tf2onnx")


def run(model: onnx.ModelProto | Path, inputs: dict[str, Array]) -> Array:
    graph = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = {tensor.name for tensor in session.get_inputs()}
    (result,) = session.run(None, {name: values for name, values in inputs.items() if name in names})
    return np.asarray(result)


@pytest.fixture(scope="module")
def features() -> Features:
    """Features of 200 training rows."""
    return fit_features(SPECS, table(200))


@pytest.mark.parametrize("opset", [15, 16, 17, 18])
def test_merged_graph_equals_transform_and_network(features: Features, opset: int) -> None:
    """At any batch size, for the rows of training and for what training never saw."""
    behind = network(features, opset=opset)
    whole = features.merged_into(behind)
    rows = table(64)
    rows["sex"][:3] = ["", "unseen", "Male"]
    rows["town"][:3] = ["", "Rom", "日本"]
    rows["born"][:3] = ["", "no date", "9999-12-31"]
    rows["fare"][:3] = [np.nan, np.inf, -1e38]
    rows["zip"][:3] = [2**53 + 1, -(2**63), 2**63 - 1]

    for size in (1, 2, 7, 64):
        batch = {name: values[:size] for name, values in rows.items()}
        np.testing.assert_array_equal(run(whole, batch), run(behind, features.transform(batch)))


def test_merged_graph_has_raw_columns_in_and_outputs_of_the_network(features: Features, tmp_path: Path) -> None:
    behind = network(features)
    before = behind.SerializeToString()
    whole = features.merged_into(behind)
    onnx.save_model(whole, tmp_path / "model.onnx")
    rows = table(3)

    assert behind.SerializeToString() == before
    assert [tensor.name for tensor in whole.graph.input] == [name for name in rows if name != "row"]
    assert [tensor.name for tensor in whole.graph.output] == ["scores"]
    assert {entry.domain: entry.version for entry in whole.opset_import} == {"": 18, "ai.onnx.ml": 2, "com.microsoft": 1}
    assert len(whole.opset_import) == 3
    assert (whole.ir_version, whole.producer_name) == (8, "tf2onnx")
    assert all(tensor.type.tensor_type.shape.dim[0].dim_param == "batch" for tensor in whole.graph.input)
    np.testing.assert_array_equal(run(tmp_path / "model.onnx", rows), run(whole, rows))


def test_plain_columns_need_no_operator_of_onnxruntime_alone() -> None:
    rows = {name: values for name, values in table(50).items() if name in ("age", "sex", "class", "height", "seen")}
    whole = (fitted := fit_features({"seen": DateSpec()}, rows)).merged_into(network(fitted))

    assert {node.domain for node in whole.graph.node} == {"", "ai.onnx.ml"}


def test_signature_of_the_raw_columns_tells_type_and_range(features: Features) -> None:
    inputs = {spec.name: spec for spec in features.inputs}

    assert (inputs["sex"].datatype, inputs["sex"].shape, inputs["sex"].value_range) == ("BYTES", (-1,), None)
    assert (inputs["photo"].datatype, inputs["photo"].shape) == ("UINT8", (-1, 5, 4, 3))
    assert inputs["class"].value_range == (1, 3)
    assert "row" not in inputs


def test_dense_entries_are_named_in_their_order(features: Features) -> None:
    dense = features.outputs[0]
    rows = {name: values[:5] for name, values in table(5).items()}

    assert dense.name == "dense"
    assert dense.features == features.feature_names
    assert dense.shape == (-1, len(set(features.feature_names)))
    column = features.feature_names.index("sex=female")
    np.testing.assert_array_equal(features.transform(rows)["dense"][:, column], rows["sex"] == "female")
    assert [spec.name for spec in features.outputs[1:]] == ["town_id", "tokens_ids", "photo_pixels", "ids_raw"]


def test_description_is_json(features: Features) -> None:
    description = features.description

    assert json.loads(json.dumps(description)) == description
    assert {name: entry["kind"] for name, entry in description.items()} == {
        name: SPECS[name].__struct_config__.tag if name in SPECS else kind
        for name, kind in zip(
            [name for name in table(1) if name != "row"],
            ["numeric", "", "", "categorical", "numeric", *[""] * 7, "raw"],
            strict=True,
        )
    }


def test_fitting_is_deterministic() -> None:
    rows = table(60)

    first, second = fit_features(SPECS, rows), fit_features(SPECS, rows)

    assert first.model().SerializeToString() == second.model().SerializeToString()


def test_specs_are_read_from_toml_like_tables() -> None:
    raw = {"age": {"kind": "numeric", "impute": 3, "clip": [0, 9]}, "sex": {"kind": "categorical"}, "id": {"kind": "ignored"}}

    specs = msgspec.convert(raw, dict[str, FeatureSpec])

    assert specs == {"age": NumericSpec(impute=3.0, clip=(0, 9)), "sex": CategoricalSpec(), "id": IgnoredSpec()}


@pytest.mark.parametrize(("column", "output"), [("scores", "scores"), ("w0", "scores"), ("sum", "scores")])
def test_column_named_like_a_tensor_of_the_network_is_refused(column: str, output: str) -> None:
    fitted = fit_features({}, {column: np.float32([1, 2])})

    with pytest.raises(FeatureError, match=f"Column '{column}' has the name of a tensor inside the network. Rename"):
        fitted.merged_into(network(fitted, output=output))


def test_network_of_other_inputs_or_another_opset_is_refused(features: Features) -> None:
    other = fit_features({}, {"age": np.float32([1, 2])})

    with pytest.raises(ExportFailed, match="the network takes"):
        other.merged_into(network(features))
    with pytest.raises(ExportFailed, match="opset 19; features in front of it expect 15 to 18"):
        other.merged_into(network(other, opset=19))


def test_branch_that_reads_an_input_of_the_network_is_connected() -> None:
    """Loops and branches, as recurrent layers have them, read tensors from outside by name."""
    fitted = fit_features({"age": NumericSpec(scale="none")}, {"age": np.float32([1, 2])})
    result = helper.make_tensor_value_info("taken", TensorProto.FLOAT, None)
    branches = [helper.make_graph([helper.make_node(op, ["dense"], ["taken"])], op, [], [result]) for op in ("Identity", "Neg")]
    node = helper.make_node("If", ["yes"], ["scores"], then_branch=branches[0], else_branch=branches[1])
    types = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1]) for name in ("dense", "scores")]
    graph = helper.make_graph([node], "network", types[:1], types[1:], [numpy_helper.from_array(np.array(False), "yes")])
    behind = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)

    assert run(fitted.merged_into(behind), {"age": np.float32([3, 4])}).tolist() == [[-3], [-4]]
    with pytest.raises(FeatureError, match="Column 'taken' has the name of a tensor inside the network"):
        fit_features({}, {"taken": np.float32([1, 2])}).merged_into(behind)
