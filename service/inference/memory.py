"""Memory: how much there is, what is kept between requests, and given back after models are unloaded."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")
_LIMITS: Final = ("memory.max", "memory/memory.limit_in_bytes")  # of cgroup v2 and v1; without a limit no number, or a huge one

# Parameters of glibc's mallopt, and the values that its own adaptation would end at after a request of 32 MB.
_TRIM_THRESHOLD: Final = (-1, 64 << 20)
_MMAP_THRESHOLD: Final = (-3, 32 << 20)


def keep_memory() -> None:
    """Have glibc keep what a request has used for the next one, from the first request on.

    By default it returns blocks of 128 KiB and more, and has the system clear them each time anew: for a body of 100 KB that takes
    as long as reading it from the socket does. Call it before any thread starts.
    """
    mallopt = _function("mallopt")
    if mallopt is not None:
        for parameter, value in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            mallopt(parameter, value)


def usable_memory(*, cgroup: Path = _CGROUP) -> int:
    """Return how many bytes of memory the processes of this machine or container may use in all."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in _LIMITS:
        with suppress(OSError, ValueError):
            found.append(int((cgroup / name).read_text(encoding="ascii")))
    return min(found)


def give_back_memory() -> None:
    """Collect what only cycles hold, and have glibc return the pages that it keeps; elsewhere the allocator does so by itself."""
    gc.collect()
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _function(name: str) -> Callable[..., int] | None:
    """Return a function of glibc; None where another allocator is at work."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
