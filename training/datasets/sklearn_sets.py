"""The small sets that scikit-learn carries: digits as scans of 8 x 8 pixels, the others as named columns."""

from typing import Any, Final

import numpy as np
from sklearn import datasets

from training.datasets.table import Table, columns
from training.spec.sources import SklearnSet, SklearnSource

_TARGET: Final = "target"
_BLACK: Final = 16.0  # each pixel counts the inked dots of a 4 x 4 block


def read(source: SklearnSource) -> Table:
    """Return the set with its target in column `target`."""
    if source.name == "digits":
        return _digits()
    bunch = _load(source.name)
    named = {name: bunch.data[:, index] for index, name in enumerate(bunch.feature_names)}
    return Table(
        name=source.name,
        columns=columns({**named, _TARGET: bunch.target}, f"scikit-learn's {source.name}"),
        target=_TARGET,
        labels=tuple(str(name) for name in bunch.get("target_names", ())),
    )


def _load(name: SklearnSet) -> Any:  # noqa: ANN401 -- scikit-learn's Bunch
    """Load in natural units: diabetes' default is scaled by statistics of all its rows, the test rows included."""
    return datasets.load_diabetes(scaled=False) if name == "diabetes" else getattr(datasets, f"load_{name}")()


def _digits() -> Table:
    scans = datasets.load_digits()
    return Table(
        name="digits",
        columns={"image": scans.images.astype(np.float32), _TARGET: scans.target.astype(np.int64)},
        target=_TARGET,
        labels=tuple(str(name) for name in scans.target_names),
        value_ranges={"image": (0.0, _BLACK)},
        descriptions={"image": "Scan of 8 x 8 pixels, rows from the top; 0 is paper, 16 is ink."},
    )
