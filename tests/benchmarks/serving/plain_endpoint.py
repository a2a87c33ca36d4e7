"""What one writes in an hour: FastAPI, pydantic and onnxruntime, for the same JSON requests. One thread, as Axon has on one core.

REPOSITORY=directory uvicorn plain_endpoint:app
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel


class Tensor(BaseModel):
    """One input."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]  # nested or flat


class InferRequest(BaseModel):
    """The body of a request."""

    inputs: list[Tensor]


options = ort.SessionOptions()
options.intra_op_num_threads = 1
paths = sorted(Path(os.environ["REPOSITORY"]).glob("*/1/model.onnx"))
sessions = {path.parts[-3]: ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in paths}
app = FastAPI()


@app.post("/v2/models/{model}/infer")
def infer(model: str, request: InferRequest) -> dict[str, Any]:
    """Answer one request."""
    if model not in sessions:
        raise HTTPException(404, f"There is no model '{model}'.")
    inputs = {tensor.name: np.array(tensor.data, np.float32).reshape(tensor.shape) for tensor in request.inputs}
    outputs = sessions[model].run(None, inputs)
    names = [output.name for output in sessions[model].get_outputs()]
    found = [
        {"name": name, "datatype": "FP32", "shape": values.shape, "data": values.ravel().tolist()}
        for name, values in zip(names, outputs, strict=True)
    ]
    return {"model_name": model, "model_version": "1", "outputs": found}
