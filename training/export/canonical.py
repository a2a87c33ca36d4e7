"""The same bytes for the same network.

tf2onnx names its tensors by counters and memory addresses and orders its nodes by Python's sets, anew in each process. Here each
node gets its operator and its place as a name, and its place follows from how the outputs reach it.
"""

from collections.abc import Iterator, Mapping

import onnx


def canonicalise(model: onnx.ModelProto) -> None:
    """Order the nodes and constants of the graph, drop those that reach no output, and rename them; in place.

    Inputs and outputs of the graph keep their names.
    """
    _canonical(model.graph, {}, "")


def _canonical(graph: onnx.GraphProto, outside: Mapping[str, str], prefix: str) -> None:
    """Do so for a graph, or for the body of a loop, in which `outside` gives the new names of what it takes from around it."""
    names = dict(outside) | {value.name: value.name for value in graph.input}
    if prefix:  # a body's inputs and outputs are known by their places alone
        names |= {value.name: f"{prefix}in_{index}" for index, value in enumerate(graph.input)}
    kept = set() if prefix else {value.name for value in graph.output}
    constants = {constant.name: constant for constant in graph.initializer}
    nodes = _ordered(graph)
    used: list[str] = []
    for index, node in enumerate(nodes):
        for name in _taken(node):
            if name in constants and name not in used:
                names[name] = name if name in kept else f"{prefix}constant_{len(used)}"
                used.append(name)
        for place, name in enumerate(node.output):
            port = f":{place}" if place else ""
            names[name] = name if name in kept else f"{prefix}{node.op_type}_{index}{port}" if name else ""
        node.name = f"{prefix}{node.op_type}_{index}"
    used += [value.name for value in graph.output if value.name in constants and value.name not in used]
    _replace(graph, nodes, [constants[name] for name in used])
    _rename(graph, names, prefix)


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> None:
    constants = [onnx.TensorProto.FromString(constant.SerializeToString()) for constant in constants]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str], prefix: str) -> None:
    for index, node in enumerate(graph.node):
        for body in _bodies(node):
            _canonical(body, names, f"{prefix}{node.op_type}_{index}/")
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for value in (*graph.initializer, *graph.input, *graph.output):
        value.name = names.get(value.name, value.name)


def _ordered(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return copies of the nodes so that each follows what it takes: depth first from the outputs."""
    makers = {output: index for index, node in enumerate(graph.node) for output in node.output if output}
    done: dict[int, None] = {}
    pending = [(makers[value.name], False) for value in reversed(graph.output) if value.name in makers]
    while pending:
        index, after_its_inputs = pending.pop()
        if index in done:
            continue
        if after_its_inputs:
            done[index] = None
            continue
        pending.append((index, True))
        taken = [makers[name] for name in _taken(graph.node[index]) if name in makers]
        pending.extend((maker, False) for maker in reversed(taken) if maker not in done)
    return [onnx.NodeProto.FromString(graph.node[index].SerializeToString()) for index in done]


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    return (attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH)


def _taken(node: onnx.NodeProto) -> list[str]:
    """Return the names that a node takes, in order; what its bodies take from outside comes last, in the order of their nodes."""
    names = list(node.input)
    for body in _bodies(node):
        inside = {value.name for value in (*body.input, *body.initializer)} | {name for inner in body.node for name in inner.output}
        reached = [name for inner in _ordered(body) for name in _taken(inner)] + [value.name for value in body.output]
        names += [name for name in reached if name not in inside]
    return names
