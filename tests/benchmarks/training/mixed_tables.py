"""How well mixed tables are predicted over HTTP from their raw columns, beside scikit-learn's gradient boosting on the same split.

    python tests/benchmarks/training/mixed_tables.py titanic churn

Each committed spec is trained into a temporary repository, which `axon serve` then serves; the test rows are sent as JSON, strings
as they are and missing numbers as null. HistGradientBoosting gets the rows as numbers and categories, and is fitted twice: on the
training rows, and on these with the validation rows, which our network sees only to stop. Exits with 1 if the area under our ROC
curve is more than one percent below the better of the two. Needs the train extra.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OrdinalEncoder

from service.repository.datatypes import from_numpy
from training.datasets import Rows, Splits, load_dataset, split
from training.spec.reading import read_spec

ROOT = Path(__file__).parents[3]
AXON = (sys.executable, "-m", "service.cli")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@contextmanager
def served(repository: Path) -> Iterator[str]:
    """Serve a repository on a free port for the block; give the URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*AXON, "serve", str(repository), "--port", str(port)], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(process, url)
        yield url
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait for a minute at most."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready"):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    sys.exit("The server was not ready.")


def asked(url: str, name: str, rows: Rows) -> np.ndarray[Any, Any]:
    """Return the probability of the second label for each row."""
    inputs = [
        {
            "name": column, "datatype": from_numpy(values.dtype), "shape": [len(values)],
            "data": [None if value != value else value for value in values.tolist()],  # noqa: PLR0124 -- NaN
        }
        for column, values in rows.inputs.items()
    ]  # fmt: skip
    request = urllib.request.Request(f"{url}/v2/models/{name}/infer", json.dumps({"inputs": inputs}).encode())
    with urllib.request.urlopen(request) as response:
        (output,) = json.load(response)["outputs"]
    return np.reshape(output["data"], output["shape"])[:, 1]


def boosted(train: list[Rows], test: Rows) -> np.ndarray[Any, Any]:
    """Fit gradient boosting, with categories for the strings; return the probability of the second label for each test row."""
    texts = [name for name, values in test.inputs.items() if values.dtype == object]
    numbers = [name for name in test.inputs if name not in texts]

    def joined(names: list[str], parts: list[Rows]) -> np.ndarray[Any, Any]:
        return np.concatenate([np.stack([part.inputs[name] for name in names], axis=1) for part in parts])

    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(joined(texts, train))

    def table(parts: list[Rows]) -> np.ndarray[Any, Any]:
        return np.hstack([encoder.transform(joined(texts, parts)), joined(numbers, parts).astype(np.float64)])

    learner = HistGradientBoostingClassifier(random_state=0, categorical_features=range(len(texts)))
    learner.fit(table(train), np.concatenate([next(iter(part.targets.values())) for part in train]))
    return np.asarray(learner.predict_proba(table([test]))[:, 1])


def compare(name: str) -> bool:
    """Train, serve, ask, and print the areas under the ROC curve; return whether ours is within one percent."""
    path = ROOT / "training" / "specs" / f"{name}.toml"
    spec = read_spec(path)
    splits: Splits = split(load_dataset(spec.dataset, spec.outputs), spec.dataset.split, seed=spec.seed)
    truth = next(iter(splits.test.targets.values()))
    with tempfile.TemporaryDirectory() as scratch:
        command = [*AXON, "train", str(path), "--repository", f"{scratch}/models", "--workdir", f"{scratch}/run", "--quiet"]
        subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        with served(Path(scratch) / "models") as url:
            ours = float(roc_auc_score(truth, asked(url, name, splits.test)))
    fewer = float(roc_auc_score(truth, boosted([splits.train], splits.test)))
    more = float(roc_auc_score(truth, boosted([splits.train, splits.validation], splits.test)))
    sys.stdout.write(
        f"{name}: {len(truth):,} test rows over HTTP, ROC AUC {ours:.4f}; gradient boosting {fewer:.4f} on the training rows "
        f"({ours / fewer - 1:+.2%}), {more:.4f} with the validation rows ({ours / more - 1:+.2%})\n"
    )
    sys.stdout.flush()
    return ours >= 0.99 * max(fewer, more)


if __name__ == "__main__":
    within = [compare(chosen) for chosen in sys.argv[1:] or ["titanic", "churn"]]
    sys.exit(0 if all(within) else 1)
