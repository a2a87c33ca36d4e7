"""How large the body of an Arrow message is once it is decompressed, read from its head before anything is.

Format: arrow.apache.org/docs/format/Columnar.html, and Message.fbs: tables of FlatBuffers, whose fields are found by their number.
"""

from struct import unpack_from
from typing import Any, Final

_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3


def inflated_size(head: bytes, body: Any) -> int:  # noqa: ANN401 -- a buffer of pyarrow
    """Return the size in bytes of all buffers of a message. pyarrow has checked the head when it read the message."""
    message = unpack_from("<I", head)[0]
    kind = unpack_from("<B", head, _field(head, message, 1))[0]
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return int(body.size)
    batch = _table(head, message, 2)
    if kind == _DICTIONARY_BATCH:
        batch = _table(head, batch, 1)
    if not _field(head, batch, 3):  # not compressed
        return int(body.size)
    buffers = _table(head, batch, 2)
    content = memoryview(body)
    size = 0
    for index in range(unpack_from("<I", head, buffers)[0]):
        offset, length = unpack_from("<qq", head, buffers + 4 + 16 * index)
        if length:
            inflated = unpack_from("<q", content, offset)[0]
            size += length if inflated < 0 else inflated  # -1 says that this one is not compressed
    return size


def _field(head: bytes, table: int, number: int) -> int:
    """Return where a field of a table lies, 0 if it is not there."""
    fields = table - unpack_from("<i", head, table)[0]
    entry = 4 + 2 * number
    if entry >= unpack_from("<H", head, fields)[0]:
        return 0
    offset = unpack_from("<H", head, fields + entry)[0]
    return table + offset if offset else 0


def _table(head: bytes, table: int, number: int) -> int:
    """Return where the table or the vector that a field refers to lies."""
    place = _field(head, table, number)
    return int(place + unpack_from("<I", head, place)[0])
