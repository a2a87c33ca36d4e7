"""A directory of pictures, one sub-directory for each label."""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from training.datasets.dataset import Array
from training.datasets.table import Table
from training.errors import DatasetError
from training.spec.sources import ImageFolderSource

_SUFFIXES: Final = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_MODES: Final = {"grey": "L", "rgb": "RGB"}


def read(source: ImageFolderSource) -> Table:
    """Return `image` uint8 [rows, height, width, channels] and `label`, ordered by path. Raises DatasetError."""
    directory = Path(source.directory)
    found = [(path, label.name) for label in _labels(directory) for path in _pictures(label)]
    if not found:
        raise DatasetError(
            f"{directory.absolute()} has no pictures in sub-directories; expected <label>/<picture>.png or the like."
        )
    size = (source.width, source.height) if source.width and source.height else None
    images: list[Array] = []
    for path, _ in found:
        pixels = _pixels(path, source, size)
        if images and pixels.shape != images[0].shape:
            raise DatasetError(
                f"{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, {found[0][0]} has {images[0].shape[1]} x "
                f"{images[0].shape[0]}; expected one size. Set dataset.source.height and width to stretch all to it."
            )
        images.append(pixels)
    return Table(
        name=directory.resolve().name,
        columns={"image": np.stack(images), "label": np.array([label for _, label in found], dtype=object)},
        target="label",
        value_ranges={"image": (0.0, 255.0)},
        descriptions={"image": f"Picture, rows from the top, {source.color} from 0 to 255."},
    )


def _labels(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise DatasetError(f"{directory.absolute()} is no directory; expected one sub-directory of pictures for each label.")
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pictures(label: Path) -> list[Path]:
    return sorted(path for path in label.rglob("*") if path.suffix.lower() in _SUFFIXES)


def _pixels(path: Path, source: ImageFolderSource, size: tuple[int, int] | None) -> Array:
    try:
        with Image.open(path) as picture:
            converted = picture.convert(_MODES[source.color])
            resized = converted if size is None else converted.resize(size, Image.Resampling.BILINEAR)
            pixels = np.asarray(resized)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} cannot be read as a picture: {error}. Repair it, or move it away.") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]  # noqa: PLR2004 -- height, width, channels
