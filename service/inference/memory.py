"""Memory of unloaded models, back to the operating system."""

import ctypes
import gc
import sys


def give_back_memory() -> None:
    """Collect what only cycles hold, and have glibc return the pages that it keeps; elsewhere the allocator does so by itself."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
