"""Memory for what is received, used again as soon as nobody looks at it any more.

A body of 4 MB takes memory that the system first has to clear, page by page: twice the time of
receiving it. So what was used before is used again. Nobody gives it back: that the last view of it
is gone shows in how often Python refers to it.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Sequence

KEPT_BYTES = 32 * 1024 * 1024  # as much as unsettled updates may have
KEPT_COUNT = 32  # they are looked through one by one
_STEP_BYTES = 64 * 1024  # sizes are rounded up: bodies of about one size can take turns


class Buffers:
    """Memory that is kept, at most `KEPT_BYTES` and `KEPT_COUNT` pieces; for one thread."""

    def __init__(self) -> None:
        self._kept: list[mmap.mmap] = []
        self._kept_bytes = 0

    def take(self, size: int) -> mmap.mmap:
        """At least so many bytes, with anything in them. They are in use while there is a view."""
        for at, kept in enumerate(map(len, self._kept)):
            if size <= kept <= 2 * size + _STEP_BYTES and _is_unused(self._kept, at):
                return self._kept[at]
        made = _memory(size + -size % _STEP_BYTES)
        self._drop_unused(len(made))
        if self._has_room(len(made)):
            self._kept.append(made)
            self._kept_bytes += len(made)
        return made

    def drop(self) -> None:
        """Keep nothing any more."""
        self._kept.clear()
        self._kept_bytes = 0

    def _has_room(self, size: int) -> bool:
        return len(self._kept) < KEPT_COUNT and self._kept_bytes + size <= KEPT_BYTES

    def _drop_unused(self, size: int) -> None:
        """Let unused ones go, the oldest first, until there is room for one of another size."""
        at = 0
        while at < len(self._kept) and size <= KEPT_BYTES and not self._has_room(size):
            if _is_unused(self._kept, at):
                self._kept_bytes -= len(self._kept.pop(at))
            else:
                at += 1


class _Memory(mmap.mmap):
    """Memory that no file is behind, and so nobody may let go of (`disk.let_go`)."""


def _memory(size: int) -> mmap.mmap:
    """Memory of its own: it goes back to the system at once, and is not cleared a second time."""
    return _Memory(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _references(pieces: Sequence[object], at: int) -> int:
    return sys.getrefcount(pieces[at])


# Of what only a list has. Pythons differ in what the question itself adds (3.14 counts fewer
# references), so it is asked in the one place, and the answer is never a number known beforehand.
_UNUSED = _references([object()], 0)


def _is_unused(pieces: Sequence[object], at: int) -> bool:
    return _references(pieces, at) == _UNUSED
