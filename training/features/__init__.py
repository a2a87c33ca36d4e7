"""Preprocessing inside the graph: raw columns become what the network takes, by one ONNX graph that is also served."""

from training.features.features import Features
from training.features.fitting import default_spec, fit_features

__all__ = ["Features", "default_spec", "fit_features"]
