"""Preprocessing inside the graph: raw columns become what the network takes, by one ONNX graph that is also served."""

from training.features.defaults import require_one_kind
from training.features.features import Features
from training.features.fitting import fit_features

__all__ = ["Features", "fit_features", "require_one_kind"]
