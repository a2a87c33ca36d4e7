"""Damage requests at random and decode them: `fuzz_codecs.py CASES [SEED]`. A million take some minutes.

Whatever comes, a request is decoded or refused with an AxonError, in a time and a memory that follow from its size. Ends with
status 1 and the body in hexadecimal at the first that is not.
"""

import json
import random
import resource
import struct
import sys
import zlib
from collections.abc import Callable
from time import thread_time
from typing import Any

from service.errors import AxonError
from service.protocols.compression import compress, decompress
from service.protocols.infer_request import InferRequest
from service.protocols.open_inference import decode, decode_raw
from service.repository.datatypes import DATATYPES, Datatype, to_numpy
from service.repository.signature import Signature, TensorSpec

LIMIT = 1 << 16  # bytes of a decompressed body
MOST_SECONDS = 1.0  # of the processor, for one body of some kilobytes
MOST_GROWTH = 200_000  # kilobytes of the process over the whole run
TOKENS = (b"[", b"]", b"{", b"}", b",", b":", b'"', b"null", b"true", b"-", b"1e999", b"NaN", b"18446744073709551616", b"\\ud800")
SIGNATURES = tuple(
    Signature((TensorSpec("x", datatype, shape),), ()) for datatype in DATATYPES for shape in ((-1, 2), (-1, -1), (3,), ())
)


def tensor(source: random.Random, index: int) -> tuple[dict[str, Any], bytes]:
    """Give a tensor that is right, and its binary data if it has such."""
    datatype: Datatype = source.choice(DATATYPES)
    shape = [source.randint(0, 3) for _ in range(source.randint(0, 3))]
    count = 1
    for size in shape:
        count *= size
    made: dict[str, Any] = {"name": source.choice(["x", "ü["]) + str(index), "datatype": datatype, "shape": shape}
    if source.random() < 0.5:
        value = source.choice(["a[", "ü"]) if datatype == "BYTES" else True if datatype == "BOOL" else 1
        return made | {"data": [value] * count}, b""
    if datatype == "BYTES":
        blob = b"".join(struct.pack("<I", size) + b"a" * size for size in source.choices(range(4), k=count))
    else:
        blob = bytes(count * to_numpy(datatype).itemsize)
    return made | {"parameters": {"binary_data_size": len(blob)}}, blob


def body(source: random.Random) -> tuple[bytes, int | None]:
    """Give a request that is right, and the size of its JSON."""
    tensors = [tensor(source, index) for index in range(source.randint(1, 3))]
    head: dict[str, Any] = {"inputs": [made for made, _ in tensors]}
    if source.random() < 0.3:
        head["outputs"] = [{"name": "y", "parameters": {"classification": 2, "binary_data": True}}]
    if source.random() < 0.3:
        head["parameters"] = {"timeout": 1, "priority": 2, "binary_data_output": True}
    text = json.dumps(head).encode()
    return text + b"".join(blob for _, blob in tensors), len(text) if source.random() < 0.8 else None


def damaged(data: bytes, source: random.Random) -> bytes:
    """Change, drop, repeat or insert something in some places."""
    changed = bytearray(data)
    for _ in range(source.randint(0, 4)):
        start = source.randint(0, len(changed))
        stop = min(len(changed), start + source.choice((1, 1, 2, 8, 64)))
        action = source.randrange(5)
        if action == 0:
            changed[start:stop] = b""
        elif action == 1:
            changed[start:start] = changed[start:stop] * source.choice((1, 2, 50))
        elif action == 2:
            changed[start:stop] = source.choice(TOKENS)
        elif action == 3:
            changed[start:stop] = source.randbytes(stop - start)
        else:
            changed[start:stop] = str(source.choice((-1, 0, 1, 2**31, 2**63, 2**64, 0.5))).encode()
    return bytes(changed)


def attempt(call: Callable[[], object]) -> bool:
    """Whether the call succeeded; any error but a refusal goes on."""
    try:
        call()
    except AxonError as error:
        if error.status >= 500:
            raise
        return False
    return True


def one(source: random.Random) -> bool:
    """Try one damaged request in one of the ways in which it can come."""
    data, json_size = body(source)
    data = damaged(data, source)
    way = source.randrange(8)
    if way == 0:
        return attempt(lambda: decode_raw(data, source.choice(SIGNATURES)))
    if way == 1:
        coding = source.choice(("gzip", "deflate"))
        packed = damaged(compress([data], coding), source)
        return attempt(lambda: checked(decode(decompress(packed, coding, limit=LIMIT))))
    size = json_size if source.random() < 0.9 else source.randint(-2, len(data) + 2)
    return attempt(lambda: checked(decode(data, json_size=size)))


def checked(request: InferRequest) -> None:
    """Check that what was decoded is of a datatype that there is."""
    known = {to_numpy(datatype) for datatype in DATATYPES}
    assert all(array.dtype in known for array in request.inputs.values())


def main() -> int:
    """Run the cases."""
    cases = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}, zlib {zlib.ZLIB_RUNTIME_VERSION}")  # noqa: T201 -- the result of the script
    decoded, slowest, before = 0, 0.0, 0
    for case in range(cases):
        if case == min(10_000, cases // 2):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started_at = thread_time()
        try:
            decoded += one(random.Random(seed + case))  # noqa: S311 -- no secret
        except BaseException:
            print(f"case {case} of seed {seed}")  # noqa: T201
            raise
        seconds = thread_time() - started_at
        slowest = max(slowest, seconds)
        assert seconds < MOST_SECONDS, f"case {case} of seed {seed} took {seconds:.1f} s"
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{cases} cases, {decoded} decoded, the rest refused; slowest {slowest * 1e3:.1f} ms; grown by {growth} kB")  # noqa: T201
    return int(growth > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
