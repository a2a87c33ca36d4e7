import json

import msgspec

from service.protocols.metadata import model_metadata, server_metadata
from service.repository.signature import Signature, TensorSpec


def test_metadata_says_what_the_tensors_mean() -> None:
    signature = Signature(
        inputs=(TensorSpec("x", "FP32", (-1, 2), features=("age", "height"), value_range=(0.0, 16.0)),),
        outputs=(TensorSpec("y", "FP32", (-1, 2), labels=("no", "yes"), unit="m"),),
    )

    metadata = json.loads(msgspec.json.encode(model_metadata("m", [1, 3], signature)))

    assert metadata == {
        "name": "m",
        "versions": ["1", "3"],
        "platform": "onnx_onnxv1",
        "inputs": [
            {
                "name": "x",
                "datatype": "FP32",
                "shape": [-1, 2],
                "parameters": {"features": ["age", "height"], "value_range": [0.0, 16.0]},
            }
        ],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2], "parameters": {"labels": ["no", "yes"], "unit": "m"}}],
    }


def test_tensor_without_meaning_has_no_parameters() -> None:
    metadata = json.loads(msgspec.json.encode(model_metadata("m", [1], Signature((TensorSpec("x", "FP32", ()),), ()))))

    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": []}]


def test_server_lists_its_extensions() -> None:
    metadata = server_metadata("1.2")

    assert metadata | {"extensions": None} == {"name": "axon", "version": "1.2", "extensions": None}
    assert "binary_tensor_data" in metadata["extensions"]
    assert "cuda_shared_memory" not in metadata["extensions"]
