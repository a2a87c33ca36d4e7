"""Fitting: `fit` trains a Keras model by a spec, deterministically, and goes on after a kill to the same bits."""

from training.fitting.checkpoint import discard_checkpoint, run_directory
from training.fitting.history import Epoch, History
from training.fitting.randomness import choose_precision, fix_randomness, to_float32
from training.fitting.recipe import fit

__all__ = ["Epoch", "History", "choose_precision", "discard_checkpoint", "fit", "fix_randomness", "run_directory", "to_float32"]
