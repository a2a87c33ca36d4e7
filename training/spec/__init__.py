"""What a training run is: the frozen types of a spec file, a file for each section. Reading one is in reading.py.

Every rule that needs no data is checked here, before anything is trained: types and ranges by the annotations, contradictions
between fields by `__post_init__`, whose ValueError msgspec turns into an error at the field's path.
"""

from typing import Annotated

from msgspec import Meta, field

from training.spec.acceptance import Acceptance
from training.spec.architecture import Activation, ArchitectureSpec, DenseSpec, HiddenLayer, Output
from training.spec.dataset import DatasetSpec
from training.spec.export import ExportSpec
from training.spec.features import FeatureSpec
from training.spec.fit import ClassWeights, EarlyStopping, FitSpec, Precision
from training.spec.losses import Loss, loss_name, require_output_fits
from training.spec.optimizers import Adagrad, Adam, OptimizerSpec, RmsProp, Sgd
from training.spec.outputs import OutputName, OutputSpec, head_of
from training.spec.scalars import Name
from training.spec.targets import TargetSpec, Task

__all__ = [
    "Acceptance", "Activation", "Adagrad", "Adam", "ArchitectureSpec", "ClassWeights", "DatasetSpec", "DenseSpec",
    "EarlyStopping", "ExportSpec", "FeatureSpec", "FitSpec", "HiddenLayer", "Loss", "OptimizerSpec", "Output", "OutputSpec",
    "Precision", "RmsProp", "Sgd", "TargetSpec", "Task", "TrainingSpec", "loss_name", "require_output_fits",
]  # fmt: skip


class TrainingSpec(FitSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run, whole: with the same machine and versions it always gives the same model.

    `features` says what becomes of each input column before the network sees it; a column that is not named gets a default.
    `outputs` are those of a model with several; one with a single output says the same at the top level and in [dataset]: target,
    task, labels, loss, class_weights, acceptance.
    """

    name: Name
    description: str = ""
    seed: Annotated[int, Meta(ge=0, lt=2**32)]
    dataset: DatasetSpec
    features: dict[str, FeatureSpec] = field(default_factory=dict)
    architecture: ArchitectureSpec
    outputs: Annotated[dict[OutputName, OutputSpec], Meta(max_length=64)] = field(default_factory=dict)
    acceptance: Acceptance | None = None
    export: ExportSpec = ExportSpec()

    def __post_init__(self) -> None:
        """Demand what an output needs, at one place, and match the loss with the output."""
        super().__post_init__()
        if self.outputs:
            self._require_outputs_alone()
            return
        if self.loss is None or self.acceptance is None:
            key = "loss" if self.loss is None else "acceptance"
            raise ValueError(f"key '{key}' is missing; expected it here, or in each of several [outputs]")
        if self.dataset.lacks_target:
            raise ValueError("dataset: key 'target' is missing; expected the name of the column to predict")
        require_output_fits(self.loss, head_of(self.dataset, self.architecture.output), self.dataset)

    @property
    def goals(self) -> dict[str, OutputSpec]:
        """What each output is for; a single output has the name "" here."""
        if self.outputs or self.loss is None or self.acceptance is None:
            return self.outputs
        dataset = self.dataset
        single = OutputSpec(
            task=dataset.task,
            target=dataset.target,
            labels=dataset.labels,
            loss=self.loss,
            activation=self.architecture.output,
            class_weights=self.class_weights,
            acceptance=self.acceptance,
        )
        return {"": single}

    def _require_outputs_alone(self) -> None:
        """Raise ValueError for what is said twice, or cannot be an output beside others."""
        given: dict[str, object] = {"loss": self.loss, "acceptance": self.acceptance, "class_weights": self.class_weights}
        given |= {"dataset.target": self.dataset.target, "dataset.labels": self.dataset.labels}
        given |= {"architecture.output": self.architecture.output}
        if twice := [key for key, value in given.items() if value]:
            raise ValueError(f"{twice[0]} is given beside [outputs]; expected it in each of them instead")
        if self.dataset.task != "classification" or any(goal.task == "reconstruction" for goal in self.outputs.values()):
            raise ValueError("a task is given beside [outputs]; expected it in each of them: classification or regression")
        for name, goal in self.outputs.items():
            if name.startswith("val_") or name == "val":
                raise ValueError(f"outputs.{name}: 'val' names what is measured on the validation rows; expected another name")
            if not goal.targets:
                raise ValueError(f"key 'outputs.{name}.target' is missing; expected the name of the column to predict")
            if both := sorted(set(self.dataset.drop) & set(goal.targets)):
                raise ValueError(f"column '{both[0]}' is in both outputs.{name}.target and dataset.drop; expected one of them")
