"""How good a model is on rows it was not fitted to, and whether that is good enough to publish. numpy only."""

from training.evaluation.acceptance import Verdict, require_accepted, require_measurable
from training.evaluation.evaluating import evaluate
from training.evaluation.prediction import predict, predict_all
from training.evaluation.result import Evaluation
from training.evaluation.rows_digest import digest_rows

__all__ = [
    "Evaluation", "Verdict", "digest_rows", "evaluate", "predict", "predict_all", "require_accepted", "require_measurable",
]  # fmt: skip
