"""Rows from the user's own Python function."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from training.datasets.arrow import columns_of_arrow, columns_of_pandas
from training.datasets.dataset import Array
from training.datasets.table import Table, columns
from training.errors import DatasetError
from training.spec.sources import FunctionSource


def read(source: FunctionSource) -> Table:
    """Call `package.module:function` and return its columns. Raises DatasetError if it is absent, fails, or returns no table."""
    try:
        result = _find(source.function)()
    except DatasetError:
        raise
    except (Exception, SystemExit) as error:
        raise DatasetError(f"{source.function}() failed: {type(error).__name__}: {error}. Expected a table.") from error
    return Table(name=source.function, columns=_columns(result, f"{source.function}()"))


def _find(reference: str) -> Callable[[], Any]:
    module, _, name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise DatasetError(
            f"{reference} cannot be imported: {error}. Expected package.module:function, found from the current directory "
            "or from PYTHONPATH."
        ) from error
    if not callable(function):
        raise DatasetError(f"{reference} is a {type(function).__name__}; expected a function.")
    return function  # type: ignore[no-any-return]


def _columns(result: object, where: str) -> dict[str, Array]:
    if isinstance(result, pd.DataFrame):
        return columns_of_pandas(result, where)
    if isinstance(result, pa.Table):
        return columns_of_arrow(result, where)
    if isinstance(result, Mapping):
        return columns(result, where)
    raise DatasetError(f"{where} returned a {type(result).__name__}; expected a pandas or Arrow table, or arrays by column name.")
