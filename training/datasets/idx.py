"""MNIST's IDX files (LeCun, 1998): Fashion-MNIST, MNIST and sets in their form, plain or compressed with gzip."""

import gzip
import zlib
from pathlib import Path
from typing import Final

import numpy as np

from training.datasets.dataset import Array
from training.datasets.table import Table
from training.errors import DatasetError
from training.spec.sources import IdxSource

_UNSIGNED_BYTE: Final = 0x08
_FILES: Final = {"train": "train", "test": "t10k"}
_CLOTHES: Final = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def read(source: IdxSource) -> Table:
    """Return `image` uint8 [rows, height, width, 1], `label` and `split`. Raises DatasetError for absent or damaged files."""
    directory = Path(source.directory)
    images, labels, splits = [], [], []
    for split, prefix in _FILES.items():
        images.append(_array(_file(directory, f"{prefix}-images-idx3-ubyte"), rank=3))
        labels.append(_array(_file(directory, f"{prefix}-labels-idx1-ubyte"), rank=1))
        if len(images[-1]) != len(labels[-1]):
            raise DatasetError(f"{directory} has {len(images[-1])} {split} images and {len(labels[-1])} labels; expected as many.")
        splits.append(np.full(len(labels[-1]), split, dtype=object))
    codes = np.concatenate(labels).astype(np.int64)
    return Table(
        name=source.name,
        columns={"image": np.concatenate(images)[..., None], "label": codes, "split": np.concatenate(splits)},
        target="label",
        labels=_CLOTHES if source.name == "fashion-mnist" else tuple(str(code) for code in range(codes.max() + 1)),
        value_ranges={"image": (0.0, 255.0)},
        descriptions={"image": "Grey picture, rows from the top; 0 is the background, 255 is full ink."},
    )


def _file(directory: Path, name: str) -> Path:
    for path in (directory / f"{name}.gz", directory / name):
        if path.is_file():
            return path
    hint = " Install Debian's package dataset-fashion-mnist, or set dataset.source.directory."
    raise DatasetError(f"{directory.absolute()} has neither {name}.gz nor {name}; expected MNIST's four IDX files.{hint}")


def _array(path: Path, *, rank: int) -> Array:
    """Read one file: 2 zero bytes, the type, the rank, the sizes as big-endian int32, then the values."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {error}. Expected an IDX file; fetch it again.") from error
    header = 4 + 4 * rank
    if content[:4] != bytes((0, 0, _UNSIGNED_BYTE, rank)) or len(content) < header:
        raise DatasetError(f"{path} is no IDX file of bytes with {rank} axes. Fetch it again.")
    shape = tuple(int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank))
    if len(content) - header != np.prod(shape, dtype=np.int64):
        raise DatasetError(f"{path} holds {len(content) - header} values, but declares {list(shape)}. Fetch it again.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
