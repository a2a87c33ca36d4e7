"""A Keras model -> the layers that are drawn. Reads attributes only, so Keras itself is not imported."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from training.report.facts import Layer

# What a reader wants to know of a layer, by the keys of its configuration and how they are said.
_TOLD: Final = (
    ("units", "{}"), ("filters", "{} filters"), ("kernel_size", "{}"), ("pool_size", "{}"), ("strides", "stride {}"),
    ("dilation_rate", "dilation {}"), ("input_dim", "{} rows"), ("output_dim", "of {}"), ("num_heads", "{} heads"),
    ("key_dim", "of {}"), ("rate", "{:g}"), ("negative_slope", "slope {:g}"), ("target_shape", "{}"), ("activation", "{}"),
    ("return_sequences", "sequences"),
)  # fmt: skip
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_UNREMARKABLE: Final = (None, False, "linear", 1, (1, 1), (1,), [1, 1], [1])


def describe_layers(model: Any) -> tuple[Layer, ...]:  # noqa: ANN401 -- a keras.Model
    """Return the layers of `model` in their order; a layer that reads from none is an input."""
    layers, outputs = list(model.layers), list(getattr(model, "output_names", ()))
    several = set(outputs) if len(outputs) > 1 else set()
    before = {layer.name: tuple(_sources(layer)) for layer in layers}
    if not any(before.values()):  # a subclassed model does not record what reads from what: show its layers in a row
        names = [layer.name for layer in layers]
        before = {name: (previous,) for previous, name in pairwise(names)}
    return tuple(
        Layer(
            name=layer.name,
            kind=type(layer).__name__,
            detail=", ".join(filter(None, (_detail(layer), f"output {layer.name}" if layer.name in several else ""))),
            shape=_shape(layer),
            parameters=int(layer.count_params()) if layer.built else 0,
            inputs=before.get(layer.name, ()),
        )
        for layer in layers
    )


def _sources(layer: Any) -> Iterator[str]:  # noqa: ANN401 -- a keras.Layer
    nodes = getattr(layer, "_inbound_nodes", ())
    for parent in nodes[0].parent_nodes if nodes else ():
        yield parent.operation.name


def _detail(layer: Any) -> str:  # noqa: ANN401 -- a keras.Layer
    if type(layer).__name__ == "InputLayer":
        return str(layer.name)
    try:
        configuration = layer.get_config()
    except (NotImplementedError, TypeError):  # a user's own layer need not have one
        return ""
    return ", ".join(text.format(_size(configuration[key])) for key, text in _TOLD if _remarkable(configuration.get(key)))


def _remarkable(value: Any) -> bool:  # noqa: ANN401 -- of a Keras configuration
    return isinstance(value, str | int | float | tuple | list) and value not in _UNREMARKABLE


def _size(value: Any) -> Any:  # noqa: ANN401 -- of a Keras configuration
    return _TIMES.join(str(size) for size in value) if isinstance(value, tuple | list) else value


def _shape(layer: Any) -> str:  # noqa: ANN401 -- a keras.Layer
    try:
        output = layer.output
    except (AttributeError, ValueError):  # never connected
        return ""
    tensors = output if isinstance(output, list | tuple) else list(output.values()) if isinstance(output, dict) else [output]
    return ", ".join(_TIMES.join("?" if size is None else str(size) for size in tensor.shape[1:]) or "1" for tensor in tensors)
