"""Memory for what is received, used again as soon as nobody looks at it any more.

A body of 4 MB takes memory that the system first has to clear, page by page: twice the time of
receiving it. So what was used before is used again. Nobody gives it back: that the last view of it
is gone shows in how often Python refers to it.
"""

from __future__ import annotations

import mmap
import sys

KEPT_BYTES = 48 * 1024 * 1024  # half more than unsettled updates have: some are just being read
KEPT_COUNT = 32  # they are looked through one by one
_STEP_BYTES = 64 * 1024  # sizes are rounded up: bodies of about one size can take turns
_UNUSED = 3  # references to what only the list has: the list's, the loop's, and the question's


class Buffers:
    """Memory that is kept, at most `KEPT_BYTES` and `KEPT_COUNT` pieces; for one thread."""

    def __init__(self) -> None:
        self._kept: list[mmap.mmap] = []
        self._kept_bytes = 0

    def take(self, size: int) -> mmap.mmap:
        """At least so many bytes, with anything in them. They are in use while there is a view."""
        for kept in self._kept:
            if size <= len(kept) <= 2 * size + _STEP_BYTES and sys.getrefcount(kept) == _UNUSED:
                return kept
        made = _memory(size + -size % _STEP_BYTES)
        self._drop_unused(len(made))
        if len(self._kept) < KEPT_COUNT and self._kept_bytes + len(made) <= KEPT_BYTES:
            self._kept.append(made)
            self._kept_bytes += len(made)
        return made

    def _drop_unused(self, room: int) -> None:
        """Let unused ones go, the oldest first, until there is room, for those of other sizes."""
        for kept in list(self._kept):
            if len(self._kept) < KEPT_COUNT and self._kept_bytes + room <= KEPT_BYTES:
                return
            if sys.getrefcount(kept) == _UNUSED:
                self._kept.remove(kept)
                self._kept_bytes -= len(kept)


class _Memory(mmap.mmap):
    """Memory that no file is behind, and so nobody may let go of (`disk.let_go`)."""


def _memory(size: int) -> mmap.mmap:
    """Memory of its own: it goes back to the system at once, and is not cleared a second time."""
    return _Memory(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
