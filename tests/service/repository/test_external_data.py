import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.errors import PackageError
from service.repository.external_data import checked_external_files, external_files

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def external(location: str, name: str = "w") -> onnx.TensorProto:
    """Build a tensor of 4 x 3 numbers whose values are in a file."""
    tensor = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4, 3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="0")
    return tensor


def as_initializer(graph: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    graph.graph.initializer.append(tensor)


def as_attribute(graph: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    graph.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def as_list_attribute(graph: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    node = helper.make_node("Custom", [], ["c"])
    node.attribute.append(onnx.AttributeProto(name="list", type=onnx.AttributeProto.TENSORS, tensors=[tensor]))
    graph.graph.node.append(node)


def in_a_branch(graph: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [tensor])
    graph.graph.node.append(helper.make_node("If", ["x"], ["c"], then_branch=branch))


def in_a_function(graph: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    inner = helper.make_node("Constant", [], ["c"], value=tensor)
    graph.functions.append(helper.make_function("own", "F", [], ["c"], [inner], [helper.make_opsetid("", 18)]))


def as_sparse_values(graph: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    graph.graph.sparse_initializer.append(onnx.SparseTensorProto(values=tensor, dims=[4, 3]))


def in_training(graph: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    graph.training_info.add().initialization.initializer.append(tensor)


PLACES = [as_initializer, as_attribute, as_list_attribute, in_a_branch, in_a_function, as_sparse_values, in_training]


@pytest.mark.parametrize("put", PLACES)
def test_path_is_found_wherever_a_tensor_can_be(
    put: Callable[..., None], graphs: Any, save: Callable[..., Path], tmp_path: Path
) -> None:
    graph = graphs.affine()
    put(graph, external("weights.bin"))

    assert external_files(save(graph, tmp_path)) == ["weights.bin"]


def test_graph_with_all_weights_inside_names_no_file(graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    assert external_files(save(graphs.affine(), tmp_path)) == []


def test_path_that_is_not_in_use_is_ignored(graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    """As left over by tools that put the values back into the graph."""
    graph = graphs.affine()
    graph.graph.initializer[0].external_data.add(key="location", value="../gone.bin")

    assert external_files(save(graph, tmp_path)) == []


def test_each_file_is_named_once(graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    graph = graphs.affine()
    graph.graph.initializer.extend([external("a.bin", "a"), external("b.bin", "b"), external("a.bin", "c")])

    assert external_files(save(graph, tmp_path)) == ["a.bin", "b.bin"]


@pytest.mark.parametrize(
    "location",
    [
        pytest.param("../secret.bin", id="parent"),
        pytest.param("weights/../../secret.bin", id="parent by a detour"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("..\\secret.bin", id="parent as Windows writes it"),
        pytest.param("C:\\secret.bin", id="drive of Windows"),
    ],
)
def test_path_out_of_the_directory_is_refused(location: str, graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"secret")
    graph = graphs.affine()
    as_initializer(graph, external(location))
    path = save(graph, tmp_path / "m" / "1")

    with pytest.raises(PackageError, match="Weights must lie in the directory of the graph") as caught:
        checked_external_files(path)

    assert f"'{location}'" in str(caught.value)


@pytest.mark.parametrize("linked", ["weights.bin", "weights/inner.bin"])
def test_link_out_of_the_directory_is_refused(linked: str, graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "inner.bin").write_bytes(b"secret")
    graph = graphs.affine()
    as_initializer(graph, external(linked))
    path = save(graph, tmp_path / "m" / "1")
    first = path.parent / Path(linked).parts[0]
    first.symlink_to(secret if "/" in linked else secret / "inner.bin")

    with pytest.raises(PackageError, match=r"a link to .*elsewhere"):
        checked_external_files(path)


def test_directory_of_a_version_may_itself_be_a_link(graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    """As Kubernetes mounts volumes."""
    graph = graphs.affine()
    as_initializer(graph, external("weights.bin"))
    path = save(graph, tmp_path / "data")
    (path.parent / "weights.bin").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "1").symlink_to(path.parent)

    assert checked_external_files(tmp_path / "1" / path.name) == [tmp_path / "1" / "weights.bin"]


def test_missing_file_is_named(graphs: Any, save: Callable[..., Path], tmp_path: Path) -> None:
    graph = graphs.affine()
    as_initializer(graph, external("weights.bin"))

    with pytest.raises(PackageError, match=r"keeps weights in 'weights\.bin', but there is no such file beside it"):
        checked_external_files(save(graph, tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no graph", id="rubbish"),
        pytest.param(b"\x3a\xff\xff\xff\xff\x0f", id="longer than the file"),
        pytest.param(b"\x3a\x01", id="cut"),
        pytest.param(b"\xff" * 30, id="a number without an end"),
        pytest.param(b"\x3b", id="an unknown wire type"),
        pytest.param(b"\x02\x00", id="field number 0"),
    ],
)
def test_file_that_is_no_graph_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(PackageError, match=r"model\.onnx is not an ONNX graph"):
        external_files(path)


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="Cannot read"):
        external_files(tmp_path / "model.onnx")


def field(number: int, content: bytes) -> bytes:
    """Write a field that holds bytes."""
    size = len(content)
    digits = []
    while size > 127:
        digits.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *digits, size]) + content


def test_graphs_within_graphs_without_an_end_are_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(300):
        graph = field(1, field(5, field(6, graph)))  # a node with an attribute that is a graph
    path = tmp_path / "model.onnx"
    path.write_bytes(field(7, graph))

    with pytest.raises(PackageError, match="too deep"):
        external_files(path)


def test_weights_inside_the_graph_are_not_read(tmp_path: Path) -> None:
    """A file of 8 GiB without any content takes no time."""
    path = tmp_path / "model.onnx"
    size = 8 * 2**30
    length = bytes([size >> shift & 127 | 128 for shift in range(0, 28, 7)]) + bytes([size >> 28])
    with path.open("wb") as stream:
        stream.write(b"\x12" + length)  # the producer's name, which no tensor is below
        header = stream.tell()
        os.ftruncate(stream.fileno(), header + size)

    assert external_files(path) == []
