"""Layers -> the boxes of the drawing: one a layer, or for a deep network one for each run of layers of equal output shape."""

from collections import Counter
from itertools import groupby
from typing import Final

from training.report.facts import Layer

_MOST_BOXES: Final = 40
_KINDS_NAMED: Final = 4


def boxes(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return at most about 40 boxes, in order, with their connections."""
    return layers if len(layers) <= _MOST_BOXES else _stages(layers)


def ranks(layers: tuple[Layer, ...]) -> list[list[Layer]]:
    """Return the boxes by their distance from the inputs, the longest way; what a box reads from is in an earlier rank."""
    depth: dict[str, int] = {}
    for layer in layers:
        depth[layer.name] = 1 + max((depth.get(source, -1) for source in layer.inputs), default=-1)
    found: list[list[Layer]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for layer in layers:
        found[depth[layer.name]].append(layer)
    return found


def _stages(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    stages: list[Layer] = []
    for shape, run in groupby(layers, key=lambda layer: layer.shape):
        members = list(run)
        kinds = Counter(layer.kind for layer in members).most_common(_KINDS_NAMED)
        detail = ", ".join(f"{count} {kind}" for kind, count in kinds)
        stages.append(
            Layer(
                name=f"stage {len(stages)}",
                kind=members[0].kind if len(members) == 1 else f"{len(members)} layers",
                detail=members[0].detail if len(members) == 1 else detail,
                shape=shape,
                parameters=sum(layer.parameters for layer in members),
                inputs=(stages[-1].name,) if stages else (),
            )
        )
    return tuple(stages)
