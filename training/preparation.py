"""From raw columns to what the network takes and is compared with: features fitted on the training rows, both signatures."""

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from service.repository.signature import Signature, TensorSpec
from training.datasets import Dataset, Rows, Splits
from training.datasets.dataset import Tensors
from training.errors import FeatureError
from training.features import Features, fit_features, require_one_kind
from training.spec import TrainingSpec

_DIGITS: Final = 6


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What the network is fitted to, and how it is reached from raw columns.

    `splits` hold the network's inputs, `network` is its signature, and `served` that of the whole graph, which starts at the raw
    columns. Without `features` the two are the same.
    """

    splits: Splits
    network: Signature
    served: Signature
    features: Features | None

    def transform(self, rows: Tensors) -> Tensors:
        """Return the network's inputs for raw columns."""
        return rows if self.features is None else self.features.transform(rows)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the owner of the data should be told of it."""
        return () if self.features is None else self.features.remarks

    @property
    def description(self) -> dict[str, str]:
        """What becomes of each raw column, in words."""
        fitted = {} if self.features is None else self.features.description
        return {name: _words(facts) for name, facts in fitted.items()}


def prepare(spec: TrainingSpec, dataset: Dataset, splits: Splits) -> Prepared:
    """Fit the features of a table to its training rows; tensors without a section are taken as they are.

    Raises FeatureError if a column and its section contradict each other.
    """
    if not spec.features and all(len(tensor.shape) > 1 for tensor in dataset.inputs):
        return _assembled(dataset, splits, None, dataset.inputs, dataset.inputs)
    require_one_kind(spec.features, dataset.rows.inputs)
    features = fit_features(spec.features, splits.train.inputs, (splits.validation.inputs, splits.test.inputs))
    declared = {tensor.name: tensor for tensor in dataset.inputs}
    raw = tuple(_merged(declared[tensor.name], tensor) for tensor in features.inputs)
    network = _each(splits, lambda rows: Rows(features.transform(rows.inputs), rows.targets))
    return _assembled(dataset, network, features, raw, features.outputs)


def _assembled(
    dataset: Dataset, splits: Splits, features: Features | None, raw: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]
) -> Prepared:
    outputs = dataset.outputs
    if dataset.goals[0].task == "reconstruction":
        output, splits = _reconstruction(outputs[0], inputs, splits)
        outputs = (output,)
    _require_distinct((*raw, *inputs), outputs)
    return Prepared(splits=splits, network=Signature(inputs, outputs), served=Signature(raw, outputs), features=features)


def _require_distinct(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    """Raise FeatureError for an output that is called as an input, a column's or the network's: a graph has one name space."""
    taken = {tensor.name for tensor in inputs}
    for tensor in outputs:
        if tensor.name in taken:
            raise FeatureError(tensor.name, "has the name of an output and of an input of the network. Rename one of them.")


def _reconstruction(output: TensorSpec, inputs: tuple[TensorSpec, ...], splits: Splits) -> tuple[TensorSpec, Splits]:
    """Make the network's one input the target."""
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise FeatureError(
            "*", f"cannot be reconstructed: the network takes {names}; expected one tensor. Drop or encode the others."
        )
    (tensor,) = inputs
    compared = _each(splits, lambda rows: Rows(rows.inputs, {output.name: rows.inputs[tensor.name].astype(np.float32)}))
    return msgspec.structs.replace(output, shape=tensor.shape, labels=tensor.features), compared


def _each(splits: Splits, change: Callable[[Rows], Rows]) -> Splits:
    return Splits(train=change(splits.train), validation=change(splits.validation), test=change(splits.test))


def _merged(declared: TensorSpec, fitted: TensorSpec) -> TensorSpec:
    """Complete what the dataset declares with the range of values that training saw, and whether they may be missing."""
    value_range = declared.value_range or fitted.value_range
    return msgspec.structs.replace(declared, value_range=value_range, missing=fitted.missing)


def _words(facts: dict[str, object]) -> str:
    told = [f"{name.replace('_', ' ')} {_short(value)}" for name, value in facts.items() if name not in ("kind", "column")]
    return ", ".join([str(facts["kind"]), *(text for text in told if not text.endswith(" "))])


def _short(value: object) -> str:
    """Say a fitted value: numbers shortly, long lists by their start."""
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, dict):
        return _short([f"{name} {_short(inner)}" for name, inner in value.items()])
    if isinstance(value, list | tuple):
        shown = [_short(inner) for inner in value[:_DIGITS]]
        return "; ".join(shown) + (f" and {len(value) - _DIGITS} more" if len(value) > _DIGITS else "")
    return "" if value is None or value is False else str(value)
