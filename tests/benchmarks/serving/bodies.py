"""The requests of the benchmark, in bytes, and what must come back for them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from graphs import SHAPES

Array = np.ndarray[Any, Any]
ENCODINGS: Final = ("json", "nested", "binary")
TOLERANCE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Body:
    """One request, prepared once: its inputs, its bytes, and the headers that go with them."""

    inputs: Array
    content: bytes
    headers: Mapping[str, str]

    def check(self, headers: Mapping[str, str], content: bytes, expected: Array) -> None:
        """Compare an answer with the outputs of onnxruntime. Raises ValueError if it is another one."""
        size = headers.get("inference-header-content-length")
        answer = json.loads(content[: int(size)] if size else content)
        if "outputs" not in answer:
            raise ValueError(f"the server answered {content[:300]!r}")
        output = answer["outputs"][0]
        values = np.frombuffer(content[int(size) :], "<f4") if size else np.array(output["data"], np.float32)
        actual = values.reshape(output["shape"])
        if actual.shape != expected.shape or not np.allclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE):
            raise ValueError(f"wrong answer: {actual.ravel()[:5]} instead of {expected.ravel()[:5]}")


def make(model: str, encoding: str, rows: int) -> Body:
    """Make a request of `rows` random rows in 0 to 1.

    `json` has the values in a flat list, `nested` in lists as deep as the shape, each number in the shortest form that gives the
    float32 back, about ten characters. `binary` is the protocol's binary tensor data, for the outputs too.
    """
    inputs = np.random.default_rng(rows).random((rows, *SHAPES[model]), dtype=np.float32)
    tensor: dict[str, Any] = {"name": "x", "shape": list(inputs.shape), "datatype": "FP32"}
    if encoding != "binary":
        tensor["data"] = inputs if encoding == "nested" else inputs.reshape(-1)
        content = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Body(inputs, content, {"Content-Type": "application/json"})
    tensor["parameters"] = {"binary_data_size": inputs.nbytes}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Body(inputs, head + inputs.tobytes(), headers)
