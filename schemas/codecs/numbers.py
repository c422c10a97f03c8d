"""The numbers of an update as whoever adds them up sees them: in blocks, whatever the codec.

Work on flat arrays goes block by block: what is worked on stays in the cache, and nothing is as
large as the model but the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from schemas.buffer import Buffer
from schemas.tensors import Floats

BLOCK = 64 * 1024
"""Floats at a time: 256 KiB stay in the cache between the check and the add."""


def spans(size: int, block: int = BLOCK) -> Iterator[tuple[int, int]]:
    """Where the blocks of an array of so many numbers begin and end."""
    for start in range(0, size, block):
        yield start, min(start + block, size)


class Numbers(Protocol):
    """The numbers of one update, decoded as they are asked for.

    What `blocks` and `read` give are the same numbers, bit for bit, however often they are asked.
    Both raise `DecodeError` if the bytes are not what the codec writes.
    """

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """All of them in order, as the start and the numbers of each block.

        Every block but the last has `BLOCK` numbers. It is valid until the next is asked for.
        """
        ...

    def read(self, start: int, stop: int) -> Floats:
        """Numbers `start` to `stop`, `(stop - start,)` float32."""
        ...


class Watched:
    """Numbers that say now and then how far somebody has gone through their blocks.

    Args:
        numbers: The numbers.
        passed: Called after every `EACH` blocks, and at the end.
    """

    EACH = 4

    def __init__(self, numbers: Numbers, passed: Callable[[], object]) -> None:
        self._numbers = numbers
        self._passed = passed

    @property
    def size(self) -> int:
        """See `Numbers.size`."""
        return self._numbers.size

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """See `Numbers.blocks`."""
        for count, each in enumerate(self._numbers.blocks(), start=1):
            yield each
            if count % self.EACH == 0:
                self._passed()
        self._passed()

    def read(self, start: int, stop: int) -> Floats:
        """See `Numbers.read`."""
        return self._numbers.read(start, stop)


class PlainNumbers:
    """Numbers that need no decoding: float32, in place.

    Args:
        floats: Bytes of little-endian float32; their number follows from them.
    """

    def __init__(self, floats: Buffer) -> None:
        self._floats: Floats = np.frombuffer(floats, "<f4")

    @property
    def size(self) -> int:
        """See `Numbers.size`."""
        return self._floats.size

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """See `Numbers.blocks`: views, without a copy."""
        for start, stop in spans(self.size):
            yield start, self._floats[start:stop]

    def read(self, start: int, stop: int) -> Floats:
        """See `Numbers.read`: a view, without a copy."""
        return self._floats[start:stop]
