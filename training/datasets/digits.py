"""Handwritten digits: the 1,797 scans that scikit-learn carries, from UCI's Optical Recognition set (Alpaydin, Kaynak, 1998)."""

import numpy as np
from sklearn import datasets

from service.repository.signature import TensorSpec
from training.datasets.dataset import Dataset, Rows

_BLACK = 16.0  # each pixel counts the inked dots of a 4 x 4 block


def load_digits() -> Dataset:
    """Return `image` float32 [1797, 8, 8] with raw values 0 (paper) to 16 (ink), and the labels '0' to '9'."""
    scans = datasets.load_digits()
    return Dataset(
        name="digits",
        task="classification",
        inputs=(
            TensorSpec(
                name="image",
                datatype="FP32",
                shape=(-1, 8, 8),
                value_range=(0.0, _BLACK),
                description="Scan of 8 x 8 pixels, rows from the top; 0 is paper, 16 is ink.",
            ),
        ),
        labels=tuple(str(name) for name in scans.target_names),
        rows=Rows({"image": scans.images.astype(np.float32)}, scans.target.astype(np.int64)),
    )
