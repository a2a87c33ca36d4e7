"""The tensor `dense`: the features of all columns that have no tensor of their own, side by side.

Columns of one number a row that are treated alike go through the graph together: a dozen nodes and one more for each column,
where a dozen for each would make a wide table slow to load and a row of it slow to answer.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from training.features.encoding import Fitted
from training.features.graph import Graph
from training.features.numeric import FittedNumeric

Place = tuple[int, int]  # of a feature: number of the column, and of the feature among those of the column


def build_dense(graph: Graph, columns: Sequence[Fitted], datatypes: Mapping[str, str]) -> str:
    """Add the nodes of columns and give FP32 [batch, features], the features of one column after those of another."""
    parts, places = [], list[Place]()
    for numbers in _alike(columns, datatypes):
        first = columns[numbers[0]]
        if len(numbers) == 1 or not isinstance(first, FittedNumeric):
            parts.append(first.build(graph, first.column))
            places += [(numbers[0], index) for index in range(len(first.names))]
            continue
        stacked = [column for number in numbers if isinstance(column := columns[number], FittedNumeric)]
        raw = graph.node("Concat", *(graph.column(column.column) for column in stacked), axis=1)
        parts.append(_stack(stacked).build(graph, raw))
        places += [(number, 0) for number in numbers]
        places += [(number, 1) for number, column in zip(numbers, stacked, strict=True) if column.indicator[0]]
    dense = graph.node("Concat", *parts, axis=1)
    order = sorted(range(len(places)), key=places.__getitem__)
    return dense if order == [*range(len(places))] else graph.node("Gather", dense, graph.constant(order, np.int64), axis=1)


def _alike(columns: Sequence[Fitted], datatypes: Mapping[str, str]) -> list[list[int]]:
    """Group the numbers of the columns whose nodes would be the same; any other column is alone."""
    groups: dict[object, list[int]] = {}
    for number, column in enumerate(columns):
        treatment: object = number
        if isinstance(column, FittedNumeric) and column.rank == 1:
            treatment = (datatypes[column.column], column.impute is None, column.clip is None, column.log1p)
        groups.setdefault(treatment, []).append(number)
    return list(groups.values())


def _stack(columns: Sequence[FittedNumeric]) -> FittedNumeric:
    """Return columns that are treated alike as one of several components."""
    clips = [column.clip for column in columns if column.clip is not None]
    return FittedNumeric(
        column="",
        rank=2,
        impute=None if columns[0].impute is None else tuple(chain.from_iterable(column.impute or () for column in columns)),
        clip=(tuple(chain.from_iterable(low for low, _ in clips)), tuple(chain.from_iterable(high for _, high in clips)))
        if clips
        else None,
        log1p=columns[0].log1p,
        offset=tuple(chain.from_iterable(column.offset for column in columns)),
        factor=tuple(chain.from_iterable(column.factor for column in columns)),
        indicator=tuple(chain.from_iterable(column.indicator for column in columns)),
    )
