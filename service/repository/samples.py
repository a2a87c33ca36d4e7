"""`samples.npz`: a few inputs with the outputs expected of the model, so that a loaded model can prove itself."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from service.errors import PackageError

SAMPLES_NAME = "samples.npz"
_INPUT, _OUTPUT = "input:", "output:"

Tensors = Mapping[str, np.ndarray[Any, Any]]


class Samples(msgspec.Struct, frozen=True):
    """Inputs and expected outputs by tensor name; the first axis of each counts the samples."""

    inputs: Tensors
    outputs: Tensors

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Read the samples of a package, None if it has none. Raises PackageError if the file is damaged."""
        path = directory / SAMPLES_NAME
        try:
            with path.open("rb") as stream, zipfile.ZipFile(stream):  # a single array is no archive
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as archive:
                    arrays = {key: archive[key] for key in archive.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise PackageError(f"{path} is not a readable samples file: {error}. Publish the model again.") from error
        return cls(
            inputs={key.removeprefix(_INPUT): _strings(value) for key, value in arrays.items() if key.startswith(_INPUT)},
            outputs={key.removeprefix(_OUTPUT): _strings(value) for key, value in arrays.items() if key.startswith(_OUTPUT)},
        )

    def write(self, directory: Path) -> None:
        """Write `samples.npz`; strings are stored as fixed-width unicode, so that reading never unpickles."""
        arrays = {_INPUT + name: _storable(value) for name, value in self.inputs.items()}
        arrays |= {_OUTPUT + name: _storable(value) for name, value in self.outputs.items()}
        np.savez_compressed(directory / SAMPLES_NAME, allow_pickle=False, **arrays)


def _storable(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.astype(np.str_) if array.dtype == object else array


def _strings(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.astype(object) if array.dtype.kind == "U" else array
