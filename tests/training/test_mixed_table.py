"""Strings, numbers and missing values, raw: as good as a strong learner that was given prepared columns."""

from pathlib import Path

import numpy as np
import pytest

from training.datasets import Rows, load_dataset, split
from training.progress import QuietDisplay
from training.spec.reading import read_spec

pipeline = pytest.importorskip("training.pipeline", reason="needs the train extra")
pytestmark = pytest.mark.training

SPEC = Path(__file__).parents[2] / "training" / "specs" / "titanic.toml"


def boosted_auc(train: list[Rows], test: Rows) -> float:
    """Fit scikit-learn's HistGradientBoosting, with categories for the strings; return the test AUC."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 -- as heavy as TensorFlow
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415
    from sklearn.preprocessing import OrdinalEncoder  # noqa: PLC0415

    texts = [name for name, values in test.inputs.items() if values.dtype == object]
    numbers = [name for name in test.inputs if name not in texts]

    def joined(names: list[str], rows: list[Rows]) -> np.ndarray:
        return np.concatenate([np.stack([part.inputs[name] for name in names], axis=1) for part in rows])

    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(joined(texts, train))

    def table(rows: list[Rows]) -> np.ndarray:
        return np.hstack([encoder.transform(joined(texts, rows)), joined(numbers, rows).astype(np.float64)])

    learner = HistGradientBoostingClassifier(random_state=0, categorical_features=range(len(texts)))
    learner.fit(table(train), np.concatenate([part.targets["probabilities"] for part in train]))
    return float(roc_auc_score(test.targets["probabilities"], learner.predict_proba(table([test]))[:, 1]))


def test_titanic_is_within_one_percent_of_gradient_boosting(tmp_path: Path) -> None:
    spec = read_spec(SPEC)
    splits = split(load_dataset(spec.dataset), spec.dataset.split, seed=spec.seed)

    manifest = pipeline.train(spec, tmp_path, QuietDisplay(), run=pipeline.Run(workdir=tmp_path / "run"))

    assert [tensor.datatype for tensor in manifest.signature.inputs] == ["BYTES", "BYTES", "FP32", "INT64", "INT64"]
    assert manifest.metrics["test"]["roc_auc"] >= 0.99 * boosted_auc([splits.train, splits.validation], splits.test)
