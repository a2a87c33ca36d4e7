from typing import Any

import pytest

from service.errors import PackageError
from service.repository.datatypes import Datatype
from service.repository.signature import Signature, TensorSpec


def signature(*, name: str = "x", datatype: Datatype = "FP32", shape: tuple[int, ...] = (-1, 4), **meaning: Any) -> Signature:
    spec = TensorSpec(name, datatype, shape, **meaning)
    return Signature(inputs=(spec,), outputs=(TensorSpec("y", "FP32", (-1, 2)),))


GRAPH = signature(shape=(-1, -1))


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param(signature(shape=(-1, -1)), id="the same"),
        pytest.param(signature(shape=(-1, 4)), id="an axis fixed that the graph leaves free"),
        pytest.param(signature(shape=(-1, 4), features=("a", "b", "c", "d"), unit="m"), id="with meaning"),
    ],
)
def test_declaration_may_say_more_than_the_graph(declared: Signature) -> None:
    assert declared.checked_against(GRAPH) is declared


@pytest.mark.parametrize(
    ("declared", "graph", "message"),
    [
        pytest.param(signature(name="z"), GRAPH, r"declares the inputs \['z'\], but the graph has \['x'\]", id="another name"),
        pytest.param(signature(datatype="FP64"), GRAPH, r"declares input 'x' as FP64 \[-1, 4\]", id="another datatype"),
        pytest.param(signature(shape=(-1, 4, 1)), GRAPH, r"but the graph has FP32 \[-1, -1\]", id="another rank"),
        pytest.param(signature(shape=(-1, -1)), signature(shape=(-1, 4)), "declares input 'x'", id="wider than the graph"),
        pytest.param(signature(shape=(-1, 5)), signature(shape=(-1, 4)), "declares input 'x'", id="another size"),
        pytest.param(Signature(GRAPH.inputs, ()), GRAPH, r"declares the outputs \[\]", id="output missing"),
    ],
)
def test_declaration_may_not_contradict_the_graph(declared: Signature, graph: Signature, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        declared.checked_against(graph)


@pytest.mark.parametrize(
    ("shape", "accepted"),
    [((1, 4), True), ((9, 4), True), ((0, 4), True), ((4,), False), ((1, 5), False), ((1, 4, 1), False)],
    ids=str,
)
def test_spec_accepts_shapes_of_its_rank_and_sizes(shape: tuple[int, ...], *, accepted: bool) -> None:
    assert TensorSpec("x", "FP32", (-1, 4)).accepts(shape) is accepted


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        pytest.param([(-1, 4), (-1, 2)], True, id="all free"),
        pytest.param([(-1, 4), (1, 2)], False, id="one fixed"),
        pytest.param([(-1, 4), ()], False, id="one scalar"),
    ],
)
def test_batch_axis_is_one_that_all_tensors_have(shapes: list[tuple[int, ...]], *, expected: bool) -> None:
    specs = tuple(TensorSpec(str(index), "FP32", shape) for index, shape in enumerate(shapes))

    assert Signature(inputs=specs[:1], outputs=specs[1:]).has_batch_axis is expected
