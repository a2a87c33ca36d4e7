from typing import Any

import numpy as np
import pytest

from training.features import Features, fit_features
from training.spec.features import ImageSpec

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(5)


def fitted(spec: ImageSpec, pictures: Array) -> Features:
    return fit_features({"x": spec}, {"x": pictures})


def pixels(features: Features, pictures: Array) -> Array:
    return features.transform({"x": pictures})["x_pixels"]


def bilinear(pictures: Array, height: int, width: int) -> Array:
    """Interpolate between pixel centres, in 64 bits, the border repeated."""

    def along(array: Array, axis: int, size: int) -> Array:
        full = array.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * full / size - 0.5, 0, full - 1)
        low = np.floor(at).astype(int)
        weight = (at - low).reshape([-1 if index == axis else 1 for index in range(4)])
        return np.take(array, low, axis) * (1 - weight) + np.take(array, np.minimum(low + 1, full - 1), axis) * weight

    return along(along(pictures.astype(np.float64), 1, height), 2, width)


@pytest.mark.parametrize("size", [(4, 4), (13, 17), (3, 20), (8, 10)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resize_is_bilinear_between_pixel_centres(size: tuple[int, int], dtype: type) -> None:
    pictures = RNG.integers(0, 256, (64, 8, 10, 3)).astype(dtype)
    features = fitted(ImageSpec(resize=size), pictures)
    expected = bilinear(pictures, *size) / 255

    for batch in (1, 2, 7, 64):
        np.testing.assert_allclose(pixels(features, pictures[:batch]), expected[:batch], atol=2e-6)
    assert features.outputs[0].shape == (-1, *size, 3)


def test_crop_takes_the_centre() -> None:
    pictures = RNG.integers(0, 256, (5, 9, 8)).astype(np.uint8)

    found = pixels(fitted(ImageSpec(crop=(4, 6), scale="none"), pictures), pictures)

    np.testing.assert_array_equal(found, pictures[:, 2:6, 1:7, None])


def test_standard_scale_is_by_channel_after_the_resize() -> None:
    pictures = RNG.normal([10, 200, 3], [1, 20, 0], (40, 6, 6, 3)).astype(np.float32)
    features = fitted(ImageSpec(resize=(4, 4), scale="standard"), pictures)
    resized = bilinear(pictures, 4, 4)
    spread = np.where([True, True, False], resized.std(axis=(0, 1, 2)), 1)

    found = pixels(features, pictures)

    np.testing.assert_allclose(found[..., :2], ((resized - resized.mean(axis=(0, 1, 2))) / spread)[..., :2], atol=2e-4)
    assert not found[..., 2].any()


def test_black_and_white_are_zero_and_one() -> None:
    features = fitted(ImageSpec(), np.zeros((1, 2, 2), np.uint8))

    np.testing.assert_allclose(pixels(features, np.full((1, 2, 2), 255, np.uint8)), 1, rtol=1e-6)
