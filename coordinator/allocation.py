"""How the C library keeps the memory that messages took.

A message of 400 KB is received, joined, and let go of 500 times a second. By itself glibc gives
that memory back to the system each time, and is given it again page by page: nearly half of the
processor time of receiving. And once it has seen a message of 4 MB, it keeps such memory in heaps,
where the smallest thing above it holds it for good.

So: what is smaller than `LARGE_BYTES` stays for the next message, up to `KEPT_BYTES`; what is
larger is memory of its own, which is given back at once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

KEPT_BYTES = 32 * 1024 * 1024  # as much as unsettled updates may take
LARGE_BYTES = 1024 * 1024

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_memory_of_messages() -> bool:
    """Have it so in this process, from here on; whether the C library knows of it."""
    found: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
    if found is None:  # not glibc: nothing is gained, and nothing lost
        return False
    return bool(found(_TRIM_THRESHOLD, KEPT_BYTES)) and bool(found(_MMAP_THRESHOLD, LARGE_BYTES))
