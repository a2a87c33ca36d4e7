"""How a Keras model is called, and what its inputs and outputs are named: Sequential, Functional, or a class of its own."""

import inspect
from collections import Counter
from typing import Any

import keras

from training.errors import ExportFailed


def input_structure(model: keras.Model) -> Any:  # noqa: ANN401 -- a tensor, or lists and dicts of tensors
    """Return the structure of the argument that the model is called with; its leaves are tensors or shapes' stand-ins."""
    functional = _functional(model)
    return functional._inputs_struct if functional is not None else _built_shapes(model)  # noqa: SLF001


def input_shapes(model: keras.Model) -> list[tuple[tuple[int, ...], str]]:
    """Return shape and dtype of each input, -1 for a free axis; a subclassed model does not tell types: they are float32."""
    functional = _functional(model)
    if functional is not None:
        return [(_free(tensor.shape), tensor.dtype) for tensor in keras.tree.flatten(functional._inputs_struct)]  # noqa: SLF001
    return [(_free((None, *leaf.shape[1:])), "float32") for leaf in keras.tree.flatten(_built_shapes(model))]


def input_names(model: keras.Model) -> list[str]:
    """Return a name for each input, in flattened order: keys of a dict, else of the Input layers, else of the argument."""
    structure = input_structure(model)
    if isinstance(structure, dict) and _is_flat(structure):
        return sorted(structure)
    if _functional(model) is not None:
        return _distinct([tensor.name for tensor in keras.tree.flatten(structure)])
    argument = next(iter(inspect.signature(model.call).parameters))
    return _distinct([argument] * len(keras.tree.flatten(structure)))


def output_names(model: keras.Model, results: Any) -> list[str]:  # noqa: ANN401
    """Return a name for each of `results`, in flattened order: keys of a dict, else the names of the layers that made them."""
    if isinstance(results, dict) and _is_flat(results):
        return sorted(results)
    if isinstance(model, keras.Sequential):
        return [model.layers[-1].name]
    functional = _functional(model)
    if functional is not None:
        return _distinct(list(functional.output_names))
    return _distinct(["output"] * len(keras.tree.flatten(results)))


def _functional(model: keras.Model) -> Any:  # noqa: ANN401
    """Return the graph of layers that a Functional or a Sequential model is; None for a class with a `call` of its own."""
    if isinstance(model, keras.Sequential):
        if model._functional is None:  # noqa: SLF001
            raise _unbuilt(model)
        return model._functional  # noqa: SLF001
    return model if isinstance(model, keras.src.models.Functional) else None


def _built_shapes(model: keras.Model) -> Any:  # noqa: ANN401
    """Return the structure of the shapes that a subclassed model was built with, as KerasTensors."""
    shapes = getattr(model, "_build_shapes_dict", None)
    if not shapes:
        raise _unbuilt(model)
    if len(shapes) > 1:
        raise ExportFailed(
            f"{type(model).__name__}.call takes several arguments ({', '.join(shapes)}). "
            "Take one dict or list of tensors instead, or export it as a SavedModel with model.export(...)."
        )
    return keras.tree.map_shape_structure(keras.KerasTensor, next(iter(shapes.values())))


def _unbuilt(model: keras.Model) -> ExportFailed:
    return ExportFailed(
        f"{type(model).__name__} '{model.name}' does not know its input shape. Add a keras.Input, or call it once on real rows "
        "before it is saved."
    )


def _is_flat(structure: dict[str, Any]) -> bool:
    return not any(isinstance(value, dict | list | tuple) for value in structure.values())


def _free(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(-1 if size is None else size for size in shape)


def _distinct(names: list[str]) -> list[str]:
    """Return the names, the second and later ones of equal names numbered."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        found.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found
