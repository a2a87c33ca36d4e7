"""Pictures: the centre cut out, resized, scaled."""

from typing import Any

import numpy as np
from msgspec import Struct

from service.repository.signature import TensorSpec
from training.errors import FeatureError
from training.features.graph import Graph
from training.features.running import evaluate
from training.spec.features import ImageSpec

Array = np.ndarray[Any, Any]
Size = tuple[int, int]

_WITHOUT_CHANNELS = 3


class FittedImage(Struct, frozen=True, kw_only=True, tag_field="kind", tag="image"):
    """(x - offset) * factor of each channel, after crop and resize. `shape` is the raw one without the batch axis."""

    column: str
    shape: tuple[int, ...]
    crop: Size | None
    resize: Size | None
    offset: tuple[float, ...]
    factor: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """None: pictures are no dense features."""
        return ()

    @property
    def dimension(self) -> None:
        """None: nothing is embedded."""

    @property
    def output(self) -> TensorSpec:
        """FP32 [-1, height, width, channels]."""
        height, width = self.resize or self.crop or (self.shape[0], self.shape[1])
        return TensorSpec(name=f"{self.column}_pixels", datatype="FP32", shape=(-1, height, width, len(self.offset)))

    def build(self, graph: Graph, raw: str) -> str:
        """Give what `output` says."""
        pixels = graph.cast(_channels_last(graph, raw, self.shape), np.float32)
        if self.crop is not None:
            pixels = self._cropped(graph, pixels, self.crop)
        if self.resize is not None:
            pixels = _resized(graph, pixels, self.resize)
        pixels = graph.node("Sub", pixels, graph.constant(self.offset, np.float32))
        return graph.node("Mul", pixels, graph.constant(self.factor, np.float32))

    def _cropped(self, graph: Graph, pixels: str, size: Size) -> str:
        starts = [(full - kept) // 2 for full, kept in zip(self.shape, size, strict=False)]
        ends = [start + kept for start, kept in zip(starts, size, strict=True)]
        bounds = [graph.constant(numbers, np.int64) for numbers in (starts, ends, [1, 2])]
        return graph.node("Slice", pixels, *bounds)


def fit_image(column: TensorSpec, spec: ImageSpec, values: Array) -> FittedImage:
    """Learn the scale from training rows [rows, height, width] or [rows, height, width, channels]. Raises FeatureError."""
    shape = column.shape[1:]
    if spec.crop is not None and (spec.crop[0] > shape[0] or spec.crop[1] > shape[1]):
        raise FeatureError(
            column.name, f"has pictures of {list(shape[:2])} pixels; crop = {list(spec.crop)} is larger. Lower crop."
        )
    channels = shape[2] if values.ndim > _WITHOUT_CHANNELS else 1
    factor = 1 / 255 if spec.scale == "unit" else 1.0
    plain = FittedImage(
        column=column.name,
        shape=shape,
        crop=spec.crop,
        resize=spec.resize,
        offset=(0.0,) * channels,
        factor=(factor,) * channels,
    )
    if spec.scale != "standard":
        return plain
    pixels = evaluate(plain.build, column, values, plain.output).reshape(-1, channels)
    spread = pixels.std(axis=0, dtype=np.float64)
    # What resizing leaves of a constant channel is rounding, a ten-millionth of it.
    varies = spread > 1e-6 * np.abs(pixels).max(axis=0)
    return FittedImage(
        column=column.name,
        shape=shape,
        crop=spec.crop,
        resize=spec.resize,
        offset=tuple(pixels.mean(axis=0, dtype=np.float64).tolist()),
        factor=tuple(np.divide(1.0, spread, out=np.zeros_like(spread), where=varies).tolist()),
    )


def _channels_last(graph: Graph, raw: str, shape: tuple[int, ...]) -> str:
    """Give a picture without channels one of them."""
    if len(shape) + 1 > _WITHOUT_CHANNELS:
        return raw
    return graph.node("Reshape", raw, graph.constant([-1, *shape, 1], np.int64))


def _resized(graph: Graph, pixels: str, size: Size) -> str:
    """Resize [batch, height, width, channels], by operators that want the channels first."""
    first = graph.node("Transpose", pixels, perm=[0, 3, 1, 2])
    channels = graph.node("Slice", graph.node("Shape", first), graph.constant([0], np.int64), graph.constant([2], np.int64))
    shape = graph.node("Concat", channels, graph.constant(size, np.int64), axis=0)
    attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    return graph.node("Transpose", graph.node("Resize", first, "", "", shape, **attributes), perm=[0, 2, 3, 1])
