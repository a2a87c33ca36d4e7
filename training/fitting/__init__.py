"""Fitting: `fit` trains a Keras model by a spec, deterministically, and goes on after a kill to the same bits."""

from training.fitting.checkpoint import discard_checkpoint, fit_has_ended, run_directory
from training.fitting.history import Epoch, History
from training.fitting.randomness import choose_precision, fix_randomness, to_float32
from training.fitting.recipe import fit
from training.fitting.workers import Workers, workers_of

__all__ = [
    "Epoch",
    "History",
    "Workers",
    "choose_precision",
    "discard_checkpoint",
    "fit",
    "fit_has_ended",
    "fix_randomness",
    "run_directory",
    "to_float32",
    "workers_of",
]
