"""What goes into a model and what comes out: names, datatypes, shapes, and what they mean."""

from typing import Self

import msgspec

from service.errors import PackageError
from service.repository.datatypes import Datatype


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input or output of a model.

    `shape` includes the batch axis; -1 stands for any size. The other fields say what the numbers mean and may be absent:
    `labels` names the entries of the last axis of an output, `features` those of an input, `unit` is the unit of measure.
    `missing` says that the model knows what to do with missing values (NaN, or an empty string). `value_range` has the
    smallest and largest value that training saw as possible (a picture's black and white).
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    unit: str = ""
    value_range: tuple[float, float] | None = None
    missing: bool = False
    description: str = ""

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of `shape` fits: the same rank, and the same size on each fixed axis.

        An empty `shape` of the spec takes any: onnxruntime gives a scalar and a tensor of unknown rank alike.
        """
        wanted = self.shape
        if not wanted or (wanted[0] == -1 and shape[1:] == wanted[1:] and len(shape) == len(wanted)):
            return True  # the usual case first, for it is asked of each request
        return len(shape) == len(wanted) and all(
            size == fixed or (fixed == -1 and size >= 0) for size, fixed in zip(shape, wanted, strict=True)
        )


class Signature(msgspec.Struct, frozen=True):
    """The inputs and outputs of a model, in the graph's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def has_batch_axis(self) -> bool:
        """Whether the first axis of every input and output is of any size."""
        return all(spec.shape[:1] == (-1,) for spec in (*self.inputs, *self.outputs))

    def checked_against(self, graph: Self) -> Self:
        """Return self if it describes the same tensors as `graph`, the signature read from the ONNX file.

        Raises PackageError otherwise. A declared shape may be stricter than the graph's, never wider.
        """
        for kind, declared, actual in (("input", self.inputs, graph.inputs), ("output", self.outputs, graph.outputs)):
            if [spec.name for spec in declared] != [spec.name for spec in actual]:
                raise PackageError(
                    f"The manifest declares the {kind}s {[spec.name for spec in declared]}, "
                    f"but the graph has {[spec.name for spec in actual]}. Publish the model again."
                )
            for ours, theirs in zip(declared, actual, strict=True):
                if ours.datatype != theirs.datatype or not _narrows(ours.shape, theirs.shape):
                    raise PackageError(
                        f"The manifest declares {kind} '{ours.name}' as {ours.datatype} {list(ours.shape)}, "
                        f"but the graph has {theirs.datatype} {list(theirs.shape)}. Publish the model again."
                    )
        return self


def _narrows(declared: tuple[int, ...], actual: tuple[int, ...]) -> bool:
    return len(declared) == len(actual) and all(theirs in (-1, ours) for ours, theirs in zip(declared, actual, strict=True))
