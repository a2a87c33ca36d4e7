"""Token ids that were made elsewhere: a column of numbers that the network embeds as they are."""

from pathlib import Path

import numpy as np
import pytest

pipeline = pytest.importorskip("training.pipeline", reason="needs the train extra")

from training.progress import QuietDisplay  # noqa: E402 -- below what may be missing
from training.spec.reading import read_spec  # noqa: E402

pytestmark = pytest.mark.training

SPEC = """
name = "ids"
seed = 1
epochs = 1
batch_size = 32
loss = "sparse_categorical_crossentropy"
dataset = { source = { kind = "npz", path = "PATH" }, target = "y" }
features = { tokens = { kind = "raw" } }
architecture = { kind = "recurrent", layers = [{ cell = "lstm", units = 2 }], embedding = 2 }
optimizer = { name = "adam", learning_rate = 0.01 }
acceptance = { accuracy = 0.01 }
"""


def test_ids_that_no_training_row_has_have_a_place_in_the_embedding(tmp_path: Path) -> None:
    """Each row has ids of its own: the largest of the test rows may be beyond all that were fitted."""
    rows = 40
    tokens = np.random.default_rng(0).permutation(rows * 3).reshape(rows, 3)
    np.savez(tmp_path / "ids.npz", tokens=tokens, y=np.arange(rows) % 2)
    (tmp_path / "ids.toml").write_text(SPEC.replace("PATH", str(tmp_path / "ids.npz")))

    spec = read_spec(tmp_path / "ids.toml")
    manifest = pipeline.train(spec, tmp_path / "models", QuietDisplay(), run=pipeline.Run(workdir=tmp_path / "run"))

    (column,) = manifest.signature.inputs
    assert column.value_range == (0, rows * 3 - 1)
