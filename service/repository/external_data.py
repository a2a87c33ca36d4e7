"""Weights that an ONNX graph keeps in other files: which, and whether they lie where they may.

The graph is walked by the field numbers of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, as the paths must be
known before onnxruntime opens them. Weights inside the graph are skipped, so that its size does not matter.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from service.errors import PackageError
from service.repository.wire import LENGTH, VARINT, fields

# For each kind of message, the fields that lead to tensors, and the kind of message that they hold.
_WAYS: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
}
_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14
_EXTERNAL: Final = 1
_DEEPEST: Final = 200  # protobuf itself stops at 100 messages within each other


def external_files(graph: Path) -> list[str]:
    """Return the paths that a graph names for its weights, as they are written in it, each once.

    Raises PackageError if the file is no ONNX graph.
    """
    try:
        with graph.open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return list(dict.fromkeys(_locations("Model", memoryview(mapped), 0)))
    except OSError as error:
        raise PackageError(f"Cannot read {graph}: {error.strerror}.") from error
    except ValueError as error:  # no message, or an empty file, which cannot be mapped
        problem = str(error)
    # Not raised above: the error would hold on to the mapped file by way of its cause.
    raise PackageError(f"{graph} is not an ONNX graph: {problem}. Copy or export the model again.")


def checked_external_files(graph: Path) -> list[Path]:
    """Return the files in which a graph keeps weights. Raises PackageError if one is missing or outside the graph's directory.

    Neither an absolute path, nor `..`, nor a symbolic link leads out of it.
    """
    root = graph.parent.resolve()
    found = []
    for location in external_files(graph):
        relative = PurePosixPath(location)
        if relative.is_absolute() or PureWindowsPath(location).drive or ".." in PureWindowsPath(location).parts:
            raise PackageError(f"{graph} keeps weights in '{location}'. {_ADVICE}")
        path = graph.parent / relative
        if not path.resolve().is_relative_to(root):
            raise PackageError(f"{graph} keeps weights in '{location}', a link to {path.resolve()}. {_ADVICE}")
        if not path.is_file():
            raise PackageError(f"{graph} keeps weights in '{location}', but there is no such file beside it. Copy the model again.")
        found.append(path)
    return found


_ADVICE = "Weights must lie in the directory of the graph, under a relative path without '..'; save the model so, and copy both."


def _locations(kind: str, message: memoryview, depth: int) -> Iterator[str]:
    """Yield the external paths below a message."""
    if depth > _DEEPEST:
        raise ValueError("its messages lie too deep within each other")
    if kind == "Tensor":
        yield from _of_tensor(message)
        return
    ways = _WAYS[kind]
    for number, wire_type, value in fields(message):
        if wire_type == LENGTH and number in ways and isinstance(value, memoryview):
            yield from _locations(ways[number], value, depth + 1)


def _of_tensor(message: memoryview) -> list[str]:
    external = False
    locations = []
    for number, wire_type, value in fields(message):
        if number == _DATA_LOCATION and wire_type == VARINT and value == _EXTERNAL:
            external = True
        elif number == _EXTERNAL_DATA and isinstance(value, memoryview):
            texts: dict[int, list[bytes]] = {1: [], 2: []}
            for key, _, text in fields(value):
                if key in texts and isinstance(text, memoryview):
                    texts[key].append(bytes(text))
            if b"location" in texts[1]:
                locations += [_path(text) for text in texts[2] or [b""]]
    return locations if external else []


def _path(text: bytes) -> str:
    path = text.decode()
    if not path or "\0" in path:
        raise ValueError(f"it keeps weights in a file called {path!r}")
    return path
