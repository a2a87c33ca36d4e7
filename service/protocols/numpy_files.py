"""`.npy` and `.npz`: one array, or several by name. Never a pickle, and nothing larger than it says or than is allowed.

Format: numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from math import prod
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy

from service.errors import AxonError, MalformedBody, NotAcceptable, shown
from service.protocols.budget import Budget

Array = np.ndarray[Any, Any]

NPY_TYPE: Final = "application/x-npy"
NPZ_TYPE: Final = "application/x-npz"
_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}  # by version; 3.0 is for records
_KINDS: Final = "biufSU"
_LARGEST_TEXT: Final = 1 << 26  # bytes of an array of strings, of which each takes the room of the longest


def read_npy(body: bytes | bytearray, where: str = "The body") -> Array:
    """Read one array. Raises MalformedBody for anything but numbers, booleans and strings in full."""
    stream = BytesIO(body)
    try:
        read_header = _HEADERS[npy.read_magic(stream)]
        shape, in_fortran_order, dtype = read_header(stream)
    except Exception as error:  # numpy evaluates the header as Python, which fails in many ways
        raise MalformedBody(f"{where} is no readable .npy file: {shown(str(error))}.") from error
    if dtype.kind not in _KINDS or not dtype.itemsize:
        raise MalformedBody(f"{where} is a .npy file of {shown(str(dtype))}; expected numbers, booleans or strings.")
    data = memoryview(body)[stream.tell() :]
    if any(size < 0 for size in shape) or prod(shape) * dtype.itemsize != len(data):
        raise MalformedBody(f"{where} has {len(data)} bytes of values; its shape {shown(str(list(shape)))} needs another number.")
    try:
        flat = np.frombuffer(data, dtype=dtype)
        if dtype.kind == "b":
            flat = flat.view(np.uint8) != 0  # a byte of 2 is no boolean of numpy's
        return flat.reshape(shape[::-1]).T if in_fortran_order else flat.reshape(shape)
    except ValueError as error:  # no value, or more axes than numpy has
        raise MalformedBody(f"{where} has the shape {shown(str(list(shape)))}, which no tensor can have.") from error


def read_npz(body: bytes | bytearray, budget: Budget) -> dict[str, Array]:
    """Read the arrays of an archive by their names. Raises MalformedBody, or DecodedTooLarge before too much is inflated."""
    try:
        with zipfile.ZipFile(BytesIO(body)) as archive:
            members = archive.infolist()
            for member in members:
                budget.take(member.file_size)  # zipfile inflates no more than it says here
            return {
                member.filename.removesuffix(".npy"): read_npy(archive.read(member), f"'{shown(member.filename)}' of the body")
                for member in members
            }
    except AxonError:
        raise
    except Exception as error:  # zipfile and its decompressors raise what they please for a broken archive
        raise MalformedBody(f"The body is no readable .npz archive: {shown(str(error))}.") from error


def write_npy(array: Array) -> bytes:
    """Write one array. Raises NotAcceptable for strings that would take too much room."""
    stream = BytesIO()
    npy.write_array(stream, _storable(array), allow_pickle=False)
    return stream.getvalue()


def write_npz(arrays: Mapping[str, Array]) -> bytes:
    """Write arrays by name, uncompressed."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", write_npy(array))
    return stream.getvalue()


def _storable(array: Array) -> Array:
    """Strings of any length are Python objects, which only a pickle holds; the format has them in fields of the same width."""
    if array.dtype != object:
        return array
    longest = max((len(text) for text in array.reshape(-1).tolist()), default=0)
    if array.size * longest * 4 > _LARGEST_TEXT:
        raise NotAcceptable("The answer holds strings too long for .npy, where each takes the room of the longest. Accept JSON.")
    return array.astype(np.str_)
