"""Datasets: real rows in, fixed splits out. One kind of source a file."""

from training.datasets.dataset import Dataset, Goal, Rows, Splits
from training.datasets.loading import load_dataset
from training.datasets.splitting import split

__all__ = ["Dataset", "Goal", "Rows", "Splits", "load_dataset", "split"]
