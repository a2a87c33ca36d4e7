"""How good a model is on rows it was not fitted to, and whether that is good enough to publish. numpy only."""

from training.evaluation.acceptance import Verdict, require_accepted, require_measurable
from training.evaluation.evaluating import evaluate
from training.evaluation.prediction import predict
from training.evaluation.result import Evaluation, intervals_of, metrics_of
from training.evaluation.rows_digest import digest_rows

__all__ = [
    "Evaluation", "Verdict", "digest_rows", "evaluate", "intervals_of", "metrics_of", "predict", "require_accepted",
    "require_measurable",
]  # fmt: skip
