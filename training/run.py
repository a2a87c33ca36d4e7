"""What a run of a spec is told, and what its steps leave to each other."""

from pathlib import Path

import keras
import msgspec

from training.cluster import Cluster
from training.datasets import Dataset, Splits
from training.evaluation import Evaluation, Verdict
from training.fitting import History
from training.preparation import Prepared


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """How a spec is run, which changes nothing about the model.

    `workdir` keeps the checkpoint and the logs; unset, it is below `.axon/runs`. `force` publishes a model that misses a threshold.
    `pictures` adds the report's plots as PNG. `spec_text` and `command` are what the report tells about how to reproduce it.
    `cluster` says who fits together.
    """

    workdir: Path | None = None
    force: bool = False
    pictures: bool = False
    spec_text: str = ""
    command: str = ""
    cluster: Cluster = Cluster()


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """The rows as they were read (`splits`), and as the network takes them (`prepared`)."""

    dataset: Dataset
    splits: Splits
    prepared: Prepared


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted network, and how good it is: evaluations by split, then by output."""

    model: keras.Model
    history: History
    evaluations: dict[str, dict[str, Evaluation]]
    verdict: Verdict
