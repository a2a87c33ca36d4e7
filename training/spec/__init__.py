"""What a training run is: the frozen types of a spec file, a file for each section. Reading one is in reading.py.

Every rule that needs no data is checked here, before anything is trained: types and ranges by the annotations, contradictions
between fields by `__post_init__`, whose ValueError msgspec turns into an error at the field's path.
"""

from typing import Annotated

from msgspec import Meta, field

from training.spec.acceptance import Acceptance
from training.spec.architecture import Activation, ArchitectureSpec, DenseSpec, HiddenLayer, Output
from training.spec.dataset import DatasetSpec, Task
from training.spec.export import ExportSpec
from training.spec.features import FeatureSpec
from training.spec.fit import ClassWeights, EarlyStopping, FitSpec, Precision
from training.spec.losses import Loss, loss_name, require_output_fits
from training.spec.optimizers import Adagrad, Adam, OptimizerSpec, RmsProp, Sgd
from training.spec.scalars import Name

__all__ = [
    "Acceptance", "Activation", "Adagrad", "Adam", "ArchitectureSpec", "ClassWeights", "DatasetSpec", "DenseSpec",
    "EarlyStopping", "ExportSpec", "FeatureSpec", "FitSpec", "HiddenLayer", "Loss", "OptimizerSpec", "Output", "Precision",
    "RmsProp", "Sgd", "Task", "TrainingSpec", "loss_name", "require_output_fits",
]  # fmt: skip


class TrainingSpec(FitSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run, whole: with the same machine and versions it always gives the same model.

    `features` says what becomes of each input column before the network sees it; a column that is not named gets a default.
    """

    name: Name
    description: str = ""
    seed: Annotated[int, Meta(ge=0, lt=2**32)]
    dataset: DatasetSpec
    features: dict[str, FeatureSpec] = field(default_factory=dict)
    architecture: ArchitectureSpec
    acceptance: Acceptance
    export: ExportSpec = ExportSpec()

    def __post_init__(self) -> None:
        """Match the loss with the output."""
        super().__post_init__()
        require_output_fits(self.loss, self.architecture.output)
