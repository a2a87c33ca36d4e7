"""The model-serving microservice: ONNX models behind the Open Inference Protocol. Never imports TensorFlow or training."""

import os

__version__ = "0.1.0"

# onnxruntime's builds since 1.29 send facts about models and machine to their maker unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
