"""Datasets by name: real rows in, fixed splits out. One dataset a file."""

from collections.abc import Callable
from typing import Final

from training.datasets.dataset import Dataset, Rows, Splits
from training.datasets.digits import load_digits
from training.datasets.splitting import split
from training.spec import DatasetName

DATASETS: Final[dict[DatasetName, Callable[[], Dataset]]] = {"digits": load_digits}

__all__ = ["DATASETS", "Dataset", "Rows", "Splits", "load_dataset", "split"]


def load_dataset(name: DatasetName) -> Dataset:
    """Read all rows of a dataset."""
    return DATASETS[name]()
