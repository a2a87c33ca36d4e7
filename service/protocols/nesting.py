"""The brackets and commas of nested lists, which say in the text of JSON whether they are those of a tensor.

To walk through many short lists takes longer than to read the values in them; to look at the text does not.
"""

from math import prod
from typing import Final

import numpy as np

FEW: Final = 32  # lists
_FULL: Final = 10  # values in a list from which to ask for its length takes no longer than to look at its bytes
COUNTED: Final = 0xFFFFFF  # simdjson counts the items of a list no further
_NO_STRUCTURE: Final = bytes(set(range(256)) - set(b"[],"))


def is_walked(shape: tuple[int, ...]) -> bool:
    """Whether the innermost lists of a nested tensor are few or long, so that each can be asked for its length."""
    lists = prod(shape[:-1])
    return lists <= FEW or lists * _FULL <= prod(shape)


def lists_in(text: bytes | bytearray) -> int:
    """Count the `[`. To find each of many takes longer than to look at every byte."""
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == ord("[")))


def lists_of(shape: tuple[int, ...]) -> int:
    """Return how many lists a nested tensor has."""
    return sum(prod(shape[:depth]) for depth in range(len(shape)))


def structure_in(text: bytes | bytearray) -> bytes | bytearray:
    """Return all brackets and commas of a text, those in strings too."""
    return text.translate(None, _NO_STRUCTURE)


def structure_of(shape: tuple[int, ...]) -> bytes:
    """Return the brackets and commas of a nested tensor."""
    inner = b""
    for size in reversed(shape):
        inner = b"[" + b",".join([inner] * size) + b"]"
    return inner


def structure_length(shape: tuple[int, ...]) -> int:
    """Return the length of what `structure_of` gives, whose shape may be any that a client claims."""
    length = 0
    for size in reversed(shape):
        length = size * length + max(size - 1, 0) + 2
    return length
