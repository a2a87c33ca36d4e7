"""What a report tells: everything that the pipeline knows about one run, as plain values."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from msgspec import Struct

from service.repository.baseline import Baseline
from service.repository.manifest import Parity
from service.repository.signature import Signature
from training.evaluation.acceptance import Verdict
from training.evaluation.result import Evaluation


class Epoch(Protocol):
    """One epoch of a fit: metrics by name (`val_` for the validation rows), wall time in seconds, last learning rate."""

    @property
    def metrics(self) -> Mapping[str, float]: ...  # noqa: D102 -- named by the class
    @property
    def seconds(self) -> float: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102


class History(Protocol):
    """The epochs of a fit in order; `best_epoch` and `resumed_from` count from 1, None if there is none."""

    @property
    def epochs(self) -> Sequence[Epoch]: ...  # noqa: D102 -- named by the class
    @property
    def stopped_early(self) -> bool: ...  # noqa: D102
    @property
    def best_epoch(self) -> int | None: ...  # noqa: D102
    @property
    def resumed_from(self) -> int | None: ...  # noqa: D102


class Layer(Struct, frozen=True, kw_only=True):
    """One layer as it is drawn: what it is, its output's shape without the batch axis, its parameters, and where it reads from."""

    name: str
    kind: str
    detail: str = ""
    shape: str = ""
    parameters: int = 0
    inputs: tuple[str, ...] = ()


class Answer(Struct, frozen=True):
    """One output of the model. `outputs` and `targets` are those of the test rows, [rows, ...], as they were evaluated."""

    name: str
    evaluation: Evaluation
    outputs: np.ndarray[Any, Any]
    targets: np.ndarray[Any, Any]


class ReportFacts(Struct, frozen=True, kw_only=True):
    """The facts of a run, with an answer for each output of the model.

    `dataset` and `tools` are the manifest's. `preprocessing` says in words what the graph does to a raw column, `seconds` how long
    each step took, `latency` the median milliseconds of onnxruntime by rows in the batch. `spec_text` is the spec file as it was
    read, `command` what reproduces the run.
    """

    name: str
    description: str
    created: str
    command: str
    spec_text: str
    seed: int
    opset: int
    dataset: Mapping[str, Any]
    tools: Mapping[str, str]
    signature: Signature
    layers: tuple[Layer, ...]
    parameters: int
    history: History
    answers: tuple[Answer, ...]
    verdict: Verdict
    baseline: Baseline
    graph_bytes: int
    parity: Parity | None = None
    preprocessing: Mapping[str, str] = {}
    seconds: Mapping[str, float] = {}
    latency: Mapping[int, float] = {}

    @property
    def named_answers(self) -> dict[str, Answer]:
        """The answers by what they are called in the page: nothing, if there is only one."""
        return {answer.name if len(self.answers) > 1 else "": answer for answer in self.answers}
