"""The training data, feature by feature: figures and a small histogram each; of a picture, its mean and its spread."""

import base64
import io
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from matplotlib import image

from service.repository.baseline import Baseline, CategoryProfile, FeatureProfile, TensorProfile
from service.repository.signature import TensorSpec
from training.report.markup import Markup, cell, number, paragraph, percent, table

_MOST_FEATURES: Final = 40
_NAMED: Final = 5
_FEW_VALUES: Final = 3
_WIDTH, _HEIGHT = 150, 26
_CHANNELS: Final = (1, 3)


def profiles(baseline: Baseline, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Markup:
    """Return the profiles of the inputs and of the predictions for the training rows."""
    parts = [_of(baseline.inputs, inputs), Markup("<h3>Predictions for the training rows</h3>"), _of(baseline.outputs, outputs)]
    said = paragraph(f"Over the {baseline.rows:,} training rows. The service compares what it is sent with this.", "soft")
    return Markup(said + "".join(parts))


def _of(found: dict[str, TensorProfile], specs: tuple[TensorSpec, ...]) -> Markup:
    pictures, rows, left = [], [], 0
    for spec in specs:
        if (profile := found.get(spec.name)) is None:
            continue
        if (grid := _grid(profile)) is not None:
            pictures.append(_pictures(spec.name, profile, grid))
            continue
        lines = list(_lines(spec, profile))
        rows += lines[:_MOST_FEATURES]
        left += len(lines) - len(lines[:_MOST_FEATURES])
    heading = ("feature", "distribution", "mean", "std", "min", "max", "missing")
    drawn = table(heading, rows, numbers=(2, 3, 4, 5, 6)) if rows else ""
    more = paragraph(f"and {left:,} more, in baseline.json", "soft") if left else ""
    return Markup("".join(pictures) + drawn + more)


def _lines(spec: TensorSpec, profile: TensorProfile) -> Iterator[tuple[object, ...]]:
    names = spec.features or spec.labels
    unit = f" ({spec.unit})" if spec.unit else ""
    if profile.categories:
        for index, category in enumerate(profile.categories):
            feature = profile.features[index] if profile.features else None
            yield (spec.name + unit, _top(category), *_figures(feature), _missing(category.missing))
        return
    for index, feature in enumerate(profile.features):
        single = len(profile.features) == 1
        name = names[index] if len(names) == len(profile.features) else spec.name if single else f"{spec.name}[{index}]"
        yield (name + unit, _spark(feature), *_figures(feature), _missing(feature.missing))


def _figures(feature: FeatureProfile | None) -> list[str]:
    """Return mean, standard deviation, smallest and largest value; a text has none."""
    if feature is None:
        return [""] * 4
    return [number(value) for value in (feature.mean, feature.std, feature.min, feature.max)]


def _top(category: CategoryProfile) -> str:
    total = sum(category.counts.values()) + category.other
    named = [f"{value} {percent(count / total)}" for value, count in list(category.counts.items())[:_NAMED]]
    return " · ".join(named) + (f" · … {category.distinct} values" if category.distinct > _NAMED else "")


def _missing(share: float) -> str:
    return percent(share) if share else "–"  # noqa: RUF001 -- a dash for none


def _spark(feature: FeatureProfile) -> Markup:
    """Draw the density between the deciles; bars are as wide as the part of the range that they stand for."""
    span = feature.max - feature.min
    if not feature.edges or span <= 0:
        return Markup('<span class="soft">constant</span>')
    edges = np.clip([feature.min, *feature.edges, feature.max], feature.min, feature.max)
    few = len(feature.edges) <= _FEW_VALUES  # so few distinct deciles: the rows lie on them rather than between
    thin = 8.0 if few else 2.5
    left = (edges[:-1] - feature.min) / span * (_WIDTH - thin)
    width = np.full(len(left), thin) if few else np.maximum(np.diff(edges) / span * (_WIDTH - thin), thin)
    height = np.sqrt(np.asarray(feature.counts) / width)  # the root, so that a peak does not flatten all else
    height *= _HEIGHT / max(float(height.max()), 1e-12)
    bars = "".join(
        f'<rect x="{x:.1f}" y="{_HEIGHT - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>'
        for x, wide, tall in zip(left, width, height, strict=True)
        if tall >= 0.3  # noqa: PLR2004 -- pixels that can be seen
    )
    return Markup(f'<svg class="spark" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none">{bars}</svg>')


def _grid(profile: TensorProfile) -> tuple[int, ...] | None:
    """Return the shape of a picture, None if the tensor is none: height, width, and perhaps channels."""
    shape = profile.shape
    is_picture = len(shape) in {2, 3} and min(shape[:2]) > 3 and (len(shape) == 2 or shape[2] in _CHANNELS)  # noqa: PLR2004
    return shape if is_picture and not profile.pooled else None


def _pictures(name: str, profile: TensorProfile, shape: tuple[int, ...]) -> Markup:
    means, spreads = ([getattr(feature, key) for feature in profile.features] for key in ("mean", "std"))
    drawn = "".join(
        f'<figure><img alt="{cell(title)}" src="{_picture(np.reshape(values, shape))}"><figcaption>{cell(title)}, '
        f"{number(min(values))} to {number(max(values))}</figcaption></figure>"
        for title, values in ((f"{name}: mean", means), (f"{name}: standard deviation", spreads))
    )
    return Markup(f'<div class="pictures">{drawn}</div>')


def _picture(values: np.ndarray[Any, Any]) -> str:
    """Return a PNG as an address, black the smallest value and white the largest."""
    span = float(values.max() - values.min()) or 1.0
    grey = ((values - values.min()) / span).astype(np.float32)
    pixels = grey if grey.ndim == 3 and grey.shape[2] == 3 else np.repeat(grey.reshape(*grey.shape[:2], 1), 3, axis=2)  # noqa: PLR2004
    stream = io.BytesIO()
    image.imsave(stream, pixels, format="png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
