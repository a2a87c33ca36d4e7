"""The model-serving microservice: ONNX models behind the Open Inference Protocol. Never imports TensorFlow or training."""

__version__ = "0.1.0"
